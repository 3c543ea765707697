"""A road to a server that a test may cut, slow down, or lead elsewhere."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

_CHUNK = 1 << 16


class Proxy:
    """Forwards connections on a port of its own to `target`, after `delay_seconds` each way."""

    def __init__(self, target: int) -> None:
        self.target, self.delay_seconds = target, 0.0
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends every connection and refuses new ones."""
        self._is_cut = True
        for end in list(self._open):
            _end(end)

    def mend(self) -> None:
        """New connections go through again."""
        self._is_cut = False

    def close(self) -> None:
        """Ends everything."""
        self.cut()
        _end(self._listener)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    if self._is_cut:
                        raise ConnectionRefusedError
                    far = socket.create_connection(("127.0.0.1", self.target), timeout=2)
                except OSError:
                    _end(near)
                    continue
                far.settimeout(None)
                self._open |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                time.sleep(self.delay_seconds)
                sink.sendall(data)
        for end in (source, sink):
            self._open.discard(end)
            _end(end)


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
