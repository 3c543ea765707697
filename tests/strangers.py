"""Servers that are not what a feed takes them for: they say one thing to whoever comes, or nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

HTML = b"<!doctype html><title>Router</title>"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
    len(HTML),
    HTML,
)
REFUSAL = (
    b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


def _serve(server: socket.socket, said: bytes) -> None:
    held = []  # A connection that is let go of is closed, which is an answer too.
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            held.append(connection)
            if said:
                connection.recv(65_536)
                connection.sendall(said)
                held.pop().close()


@contextlib.contextmanager
def stranger(said: bytes = b"") -> Iterator[int]:
    """The port of one that answers with this, then hangs up; with nothing: one that takes connections and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server, said), daemon=True).start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
