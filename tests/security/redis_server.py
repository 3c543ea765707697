"""A Redis that speaks TLS alone: Debian's redis-server where it is installed, else Valkey behind a door of TLS.

The Valkey that comes by pip is built without TLS. The door is Python's `ssl` in front of it: the worker judges
certificates and host names as it does elsewhere; what is not tried with it is the server's own TLS.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import redis

from tests.security.certificates import Authority, Pair
from worker.demo.processes import answers, free_port, spawn, stop, wait_for
from worker.demo.valkey import EmbeddedValkey

START_SECONDS = 20.0


class SecuredRedis(Protocol):
    """A server, and the administrator's connection to it."""

    port: int
    admin: Any

    def close(self) -> None:
        """Ends it."""


class DebianRedis:
    """redis-server with TLS of its own; it wants a client certificate where `mutual`."""

    def __init__(self, folder: Path, pair: Pair, authority: Authority, *, mutual: bool) -> None:
        self.port = free_port()
        binary = shutil.which("redis-server")
        assert binary
        command = [
            binary, "--port", "0", "--tls-port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--dir", str(folder), "--tls-cert-file", str(pair.certificate), "--tls-key-file", str(pair.key),
            "--tls-ca-cert-file", str(authority.file), "--tls-auth-clients", "yes" if mutual else "no",
            "--unixsocket", str(folder / "admin.sock"),
        ]  # fmt: skip
        log = folder / "redis.log"
        self._child = spawn(command, log=log)
        wait_for("Redis", lambda: answers(self.port), self._child, log, START_SECONDS)
        self.admin = redis.Redis(unix_socket_path=str(folder / "admin.sock"))

    def renew(self, pair: Pair) -> None:
        """Shows another certificate from now on, to new connections."""
        self.admin.config_set("tls-cert-file", str(pair.certificate), "tls-key-file", str(pair.key))

    def close(self) -> None:
        """Ends it."""
        self.admin.close()
        stop(self._child)


class Door:
    """Valkey, and in front of it a port of TLS."""

    def __init__(self, folder: Path, pair: Pair, authority: Authority, *, mutual: bool) -> None:
        self._server = EmbeddedValkey(folder)
        self.admin = redis.Redis.from_url(self._server.url)
        self._authority, self._mutual = authority, mutual
        self.renew(pair)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._open, name="door", daemon=True).start()

    def renew(self, pair: Pair) -> None:
        """Shows another certificate from now on, to new connections."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        if self._mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self._authority.file)
        self._context = context

    def _open(self) -> None:
        with contextlib.suppress(OSError):  # the listener's end
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """A handshake that fails is the case, and either side may hang up."""
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(client, server_side=True) as safe,
            socket.create_connection(("127.0.0.1", self._server.port)) as server,
        ):
            threading.Thread(target=_carry, args=(server, safe), daemon=True).start()
            _carry(safe, server)

    def close(self) -> None:
        """Ends both."""
        self._listener.close()
        self.admin.close()
        self._server.stop()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(2**16):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


def kinds() -> list[type[DebianRedis] | type[Door]]:
    """Those that can run here."""
    binary = shutil.which("redis-server")
    if binary is None:
        return [Door]
    told = subprocess.run([binary, "--tls-port", "0", "--help"], capture_output=True, text=True, check=False)
    return [Door] if "TLS" in told.stderr and "support" in told.stderr else [Door, DebianRedis]


@contextlib.contextmanager
def open_redis(kind: Any, folder: Path, pair: Pair, authority: Authority, *, mutual: bool = False) -> Iterator[Any]:
    """A server of that kind, closed at the end."""
    with contextlib.closing(kind(folder, pair, authority, mutual=mutual)) as opened:
        yield opened


@contextlib.contextmanager
def redis_over_tls(folder: Path) -> Iterator[tuple[Path, str]]:
    """Valkey behind a door, with a CA that is good for ten days: the CA's file, and the address that names it."""
    authority = Authority(folder, "authority")
    with open_redis(Door, folder, authority.sign("redis"), authority) as server:
        yield authority.file, f"rediss://localhost:{server.port}/0?ssl_ca_certs={authority.file}"
