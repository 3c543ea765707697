"""A Redis that speaks TLS alone: Debian's redis-server, unpacked into the cache; else Valkey behind a door of TLS.

The Valkey that comes by pip is built without TLS. The door is Python's `ssl` in front of it: the worker judges
certificates and host names as it does elsewhere; what is not tried with it is the server's own TLS.
`python -m tests.security.redis_server` fetches Debian's.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import redis

from tests.debian import libraries, unpacked
from tests.security.certificates import Authority, Pair
from worker.demo.processes import answers, free_port, spawn, stop, wait_for
from worker.demo.valkey import EmbeddedValkey

START_SECONDS = 20.0
PACKAGES = ("redis-server", "redis-tools", "libjemalloc2", "liblzf1")


class SecuredRedis(Protocol):
    """A server, and the administrator's connection to it."""

    port: int
    bare: str  # its address without TLS
    admin: Any

    def close(self) -> None:
        """Ends it."""


class DebianRedis:
    """redis-server with TLS of its own; it wants a client certificate where `mutual`."""

    def __init__(self, folder: Path, pair: Pair, authority: Authority, *, mutual: bool) -> None:
        self.port = free_port()
        binary, environ = program()
        command = [
            binary, "--port", "0", "--tls-port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--dir", str(folder), "--tls-cert-file", str(pair.certificate), "--tls-key-file", str(pair.key),
            "--tls-ca-cert-file", str(authority.file), "--tls-auth-clients", "yes" if mutual else "no",
            "--unixsocket", str(folder / "admin.sock"),
        ]  # fmt: skip
        log = folder / "redis.log"
        self._child = spawn(command, log=log, environ=environ)
        wait_for("Redis", lambda: answers(self.port), self._child, log, START_SECONDS)
        self.bare = f"unix://{folder / 'admin.sock'}"
        self.admin = redis.Redis.from_url(self.bare)

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
        self.bare = self._server.url
        self.admin = redis.Redis.from_url(self.bare)
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


@functools.cache
def program() -> tuple[str, dict[str, str]]:
    """redis-server with TLS, and the environment that it needs: from PATH, else from the cache.

    Raises:
        FileNotFoundError: there is none, and none could be fetched.
    """
    found = shutil.which("redis-server")
    if found and _speaks_tls(found):
        return found, dict(os.environ)
    root = unpacked("redis", PACKAGES)
    return str(root / "usr" / "bin" / "redis-server"), os.environ | {"LD_LIBRARY_PATH": str(libraries(root))}


def _speaks_tls(binary: str) -> bool:
    """One that does misses its certificate; either ends at once."""
    bare = [binary, "--port", "0", "--tls-port", "1"]
    told = subprocess.run(bare, capture_output=True, text=True, timeout=START_SECONDS, check=False)
    return "No tls-cert-file configured" in told.stdout


@functools.cache
def kind() -> type[DebianRedis] | type[Door]:
    """The best that can be had here: the door where Debian's packages are out of reach."""
    try:
        program()
    except FileNotFoundError as error:
        warnings.warn(f"TLS of Redis is tried on a door in front of Valkey: {error}", stacklevel=2)
        return Door
    return DebianRedis


@contextlib.contextmanager
def open_redis(made: Any, folder: Path, pair: Pair, authority: Authority, *, mutual: bool = False) -> Iterator[Any]:
    """A server of that kind, closed at the end."""
    with contextlib.closing(made(folder, pair, authority, mutual=mutual)) as opened:
        yield opened


@contextlib.contextmanager
def redis_over_tls(folder: Path) -> Iterator[tuple[Path, str]]:
    """Valkey behind a door, with a CA that is good for ten days: the CA's file, and the address that names it."""
    authority = Authority(folder, "authority")
    with open_redis(Door, folder, authority.sign("redis"), authority) as server:
        yield authority.file, f"rediss://localhost:{server.port}/0?ssl_ca_certs={authority.file}"


if __name__ == "__main__":
    print(program()[0])
