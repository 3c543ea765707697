"""A road to a server that a test may cut, slow down, lead elsewhere, or on which Kafka's transactions do not pass."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable

_CHUNK = 1 << 16
# Kafka's requests InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit.
TRANSACTIONS = frozenset({22, 24, 25, 26, 28})


class Proxy:
    """Forwards connections on a port of its own to `target`, after `delay_seconds` each way."""

    def __init__(self, target: int, *, parses: bool = False) -> None:
        """`parses`: the server is a Kafka, of whose requests some may be refused."""
        self.parses = parses
        self.target, self.delay_seconds = target, 0.0
        self.refused: frozenset[int] = frozenset()  # Kafka's requests at which a connection ends
        self.refusals = 0
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
                for source, sink, passes in ((near, far, _Requests(self).pass_), (far, near, lambda data: True)):
                    threading.Thread(target=self._carry, args=(source, sink, passes), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, passes: Callable[[bytes], bool]) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(_CHUNK)) and passes(data):
                time.sleep(self.delay_seconds)
                sink.sendall(data)
        for end in (source, sink):
            self._open.discard(end)
            _end(end)


class _Requests:
    """Kafka's requests on one connection: 4 bytes of size, then 2 that say what it is."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._skip = 0
        self._head = b""

    def pass_(self, data: bytes) -> bool:
        """False when a refused request begins in these bytes."""
        if not self._proxy.parses:
            return True
        while data:
            if self._skip:
                skipped = min(self._skip, len(data))
                self._skip, data = self._skip - skipped, data[skipped:]
                continue
            taken = 6 - len(self._head)
            self._head, data = self._head + data[:taken], data[taken:]
            if len(self._head) == 6:
                size, what = struct.unpack(">ih", self._head)
                self._head, self._skip = b"", size - 2
                if what in self._proxy.refused:
                    self._proxy.refusals += 1
                    return False
        return True


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
