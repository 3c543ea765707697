"""Record, or where it lies in Kafka <-> bytes, as Redis keeps it: a small versioned frame, no pickle."""

from __future__ import annotations

import struct

from worker.errors import Poison, blamed
from worker.records import Candidate, Masked, Partition, Record, Reference, Stage

# A record whose value has more bytes stays in Kafka, and Redis keeps a Reference. With more a frame costs Redis three
# times as much and more; with less a reading or a text that this worker has not read itself would have to be fetched.
INLINE_BYTES = 1024

_RECORD, _REFERENCE = 1, 2  # the version, which is the first byte, tells the two apart
_HEAD = struct.Struct(">BBiqqH")  # version, flags, partition, offset, timestamp, headers
_PLACE = struct.Struct(">BiqIB")  # version, partition, offset, size, length of the topic, which follows
_HAS_KEY, _HAS_VALUE, _IS_MASKED = 1, 2, 4
_NO_VALUE = 0xFFFFFFFF  # the length of a header that has none
_TIME_DIGITS = 16


def encode_kept(record: Record, inline_bytes: int) -> bytes:
    """The record if its value has at most `inline_bytes`, else where it lies."""
    return encode_record(record) if record.is_small(inline_bytes) else encode_reference(record)


def encode_reference(record: Record) -> bytes:
    """Where the record lies: 18 bytes and the topic's name."""
    size, topic = Reference.to(record).size, record.topic.encode()
    return _PLACE.pack(_REFERENCE, record.partition, record.offset, size, len(topic)) + topic


def encode_record(record: Record) -> bytes:
    """All of the record but its lease."""
    flags = (_HAS_KEY if record.key is not None else 0) | (_HAS_VALUE if record.value is not None else 0)
    flags |= _IS_MASKED if record.masked is not None else 0
    parts: list[bytes | None] = [record.topic.encode(), record.key or b""]
    for name, value in record.headers:
        parts += [name.encode(), value]
    parts.append(record.value or b"")
    lengths = (_NO_VALUE if part is None else len(part) for part in parts)
    head = _HEAD.pack(_RECORD, flags, record.partition, record.offset, record.timestamp_ms, len(record.headers))
    return b"".join((head, struct.pack(f">{len(parts)}I", *lengths), *filter(None, parts)))


def decode_record(data: bytes) -> Record:
    """The record that `encode_record` was given.

    Raises:
        ValueError: another version wrote it.
    """
    version, flags, partition, offset, timestamp_ms, headers = _HEAD.unpack_from(data)
    if version != _RECORD:
        raise ValueError(f"a record of version {version} in Redis; this worker reads {_RECORD} and {_REFERENCE}")
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
        masked=Masked(len(parts[-1] or b"")) if flags & _IS_MASKED else None,
    )


def decode_reference(data: bytes) -> Reference:
    """Where the record lies that `encode_reference` was given.

    Raises:
        ValueError: a part of it is missing.
    """
    _, partition, offset, size, length = _PLACE.unpack_from(data)
    topic = data[_PLACE.size :]
    if len(topic) != length:
        raise ValueError(f"a reference of {len(data)} bytes in Redis; it was written with {_PLACE.size + length}")
    return Reference(Partition(topic.decode(), partition), offset, size)


def kept_record(data: bytes) -> Record | Reference | Poison:
    """What `encode_kept` made these bytes of, or why that cannot be told."""
    try:
        return decode_reference(data) if data[:1] == bytes([_REFERENCE]) else decode_record(data)
    except BaseException as error:  # noqa: BLE001  the boundary of one record
        return blamed(error, Stage.DECODE, "unreadable")


def encode_member(time_us: int, event_id: str) -> bytes:
    """A sorted set's member: byte order is the order of (time, id by code point)."""
    return f"{time_us:0{_TIME_DIGITS}d}:{event_id}".encode()


def decode_member(member: bytes) -> Candidate:
    """The candidate that a member names."""
    return Candidate(int(member[:_TIME_DIGITS]), member[_TIME_DIGITS + 1 :].decode())
