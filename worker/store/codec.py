"""Record <-> bytes, as Redis keeps it: a small versioned frame, no pickle."""

from __future__ import annotations

import struct

from worker.errors import Poison, blamed
from worker.records import Candidate, Record, Stage

_VERSION = 1
_HEAD = struct.Struct(">BBiqqH")  # version, flags, partition, offset, timestamp, headers
_HAS_KEY, _HAS_VALUE = 1, 2
_NO_VALUE = 0xFFFFFFFF  # the length of a header that has none
_TIME_DIGITS = 16


def encode_record(record: Record) -> bytes:
    """All of the record but its lease."""
    flags = (_HAS_KEY if record.key is not None else 0) | (_HAS_VALUE if record.value is not None else 0)
    parts: list[bytes | None] = [record.topic.encode(), record.key or b""]
    for name, value in record.headers:
        parts += [name.encode(), value]
    parts.append(record.value or b"")
    lengths = (_NO_VALUE if part is None else len(part) for part in parts)
    head = _HEAD.pack(_VERSION, flags, record.partition, record.offset, record.timestamp_ms, len(record.headers))
    return b"".join((head, struct.pack(f">{len(parts)}I", *lengths), *filter(None, parts)))


def decode_record(data: bytes) -> Record:
    """The record that `encode_record` was given.

    Raises:
        ValueError: another version wrote it.
    """
    version, flags, partition, offset, timestamp_ms, headers = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise ValueError(f"a record of version {version} in Redis; this worker writes and reads {_VERSION}")
    lengths = struct.unpack_from(f">{headers * 2 + 3}I", data, _HEAD.size)
    position = _HEAD.size + 4 * len(lengths)
    parts = []
    for length in lengths:
        parts.append(data[position : position + length] if length != _NO_VALUE else None)
        position += length if length != _NO_VALUE else 0
    if position != len(data):
        raise ValueError(f"a record of {len(data)} bytes in Redis; it was written with {position}")
    topic, *names = ((part or b"").decode() for part in (parts[0], *parts[2:-1:2]))
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=timestamp_ms,
        key=parts[1] if flags & _HAS_KEY else None,
        value=parts[-1] if flags & _HAS_VALUE else None,
        headers=tuple(zip(names, parts[3:-1:2], strict=True)),
    )


def kept_record(data: bytes) -> Record | Poison:
    """The record that `encode_record` was given, or why there is none in these bytes."""
    try:
        return decode_record(data)
    except BaseException as error:  # noqa: BLE001  the boundary of one record
        return blamed(error, Stage.DECODE, "unreadable")


def encode_member(time_us: int, event_id: str) -> bytes:
    """A sorted set's member: byte order is the order of (time, id by code point)."""
    return f"{time_us:0{_TIME_DIGITS}d}:{event_id}".encode()


def decode_member(member: bytes) -> Candidate:
    """The candidate that a member names."""
    return Candidate(int(member[:_TIME_DIGITS]), member[_TIME_DIGITS + 1 :].decode())
