"""Kafka's bytes on their way from a socket to a record: kafka-python 3.0.12 copies each ten times, this three times."""

from __future__ import annotations

import functools
import socket
from typing import Any, NamedTuple

from kafka.errors import CorruptRecordError
from kafka.net.transport import KafkaTCPTransport
from kafka.protocol.frame import KafkaBytes
from kafka.record.default_records import ControlRecord, DefaultRecordBatch
from kafka.record.util import decode_varint

# The client asks for 4 KiB at a time: eight system calls a frame, and each lets go of the interpreter's lock.
RECEIVE_BYTES = 256 * 1024


class WideSocket(socket.socket):
    """Gives all that is there, up to RECEIVE_BYTES, whatever is asked for."""

    __slots__ = ()

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As a socket has it, but for the size."""
        return super().recv(max(size, RECEIVE_BYTES), flags)


@functools.cache
def copy_less() -> None:
    """For every client of this process; also lets its consumers read header names that are no UTF-8, at which the
    client raises in the middle of a batch, where it cannot go on: one record would end all its readers."""
    made = KafkaTCPTransport.__init__

    def make(self: Any, net: Any, sock: Any, host: Any = None) -> None:
        made(self, net, sock, host)
        if type(sock) is socket.socket:  # not TLS, which has buffers of its own
            sock.__class__ = WideSocket

    KafkaTCPTransport.__init__ = make
    KafkaBytes.read, KafkaBytes.write = _read, _write
    DefaultRecordBatch.__init__, DefaultRecordBatch._read_msg = _open, _record


class _Read(NamedTuple):
    """As DefaultRecord, whose every field is a property in Python."""

    size_in_bytes: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None

    def validate_crc(self) -> bool:
        """The batch's was."""
        return True


def _read(frame: Any, count: int | None = None) -> bytes | memoryview:
    """The next bytes; the rest as it lies there."""
    start, end = frame._idx, len(frame) if count is None else min(frame._idx + count, len(frame))
    frame._idx = end
    found = memoryview(frame)[start:end]
    return found if count is None else bytes(found)


def _write(frame: Any, data: bytes) -> None:
    start, frame._idx = frame._idx, frame._idx + len(data)
    memoryview(frame)[start : frame._idx] = data


def _open(batch: Any, buffer: Any) -> None:
    """Reads where the bytes lie."""
    batch._buffer, batch._pos = buffer, batch.HEADER_STRUCT.size
    batch._header_data = batch.HEADER_STRUCT.unpack_from(buffer)
    batch._num_records, batch._next_record_index, batch._decompressed = batch._header_data[12], 0, False


def _record(batch: Any) -> Any:
    """The next record: key, value and headers are each copied once. In a header's name a byte that is no UTF-8 is spelt
    `\\xff`.

    Raises:
        CorruptRecordError: its parts do not add up.
    """
    buffer = batch._buffer
    length, start = decode_varint(buffer, batch._pos)
    _, at = decode_varint(buffer, start)  # its attributes, which mean nothing
    later_ms, at = decode_varint(buffer, at)
    further, at = decode_varint(buffer, at)
    key, at = _nullable(buffer, at)
    value, at = _nullable(buffer, at)
    count, at = decode_varint(buffer, at)
    if count < 0:
        raise CorruptRecordError(f"a record has {count} headers")
    headers = []
    for _ in range(count):
        name, at = _nullable(buffer, at)
        if name is None:
            raise CorruptRecordError("a header has no name")
        told, at = _nullable(buffer, at)
        headers.append((name.decode(errors="backslashreplace"), told))
    if at - start != length:
        raise CorruptRecordError(f"a record has {at - start} bytes and not the {length} that it tells")
    batch._pos = at
    head = batch._header_data  # what the batch's own properties read, one by one for each record
    offset, attributes, appended_at = head[0] + further, head[5], head[5] & batch.TIMESTAMP_TYPE_MASK
    kind = ControlRecord if attributes & batch.CONTROL_MASK else _Read
    timestamp_ms = head[8] if appended_at else head[7] + later_ms
    return kind(length, offset, timestamp_ms, int(bool(appended_at)), key, value, headers)


def _nullable(buffer: Any, at: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(buffer, at)
    return (bytes(buffer[at : at + length]), at + length) if length >= 0 else (None, at)
