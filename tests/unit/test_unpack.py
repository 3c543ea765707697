"""A batch that cannot be unpacked ends its reader at once and every time; kafka-python alone would turn for ever."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition, codec
from kafka.errors import KafkaError
from kafka.record import MemoryRecords
from kafka.record.memory_records import MemoryRecordsBuilder

from worker.broker.codecs import missing_codecs
from worker.broker.copies import copy_less
from worker.broker.unpack import _Records, _refusing
from worker.errors import Fatal

PLACE = TopicPartition("frames", 3)
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
VALUES = [b"one" * 50, b"two" * 50, b"three" * 50]


def batch(kind: str, base: int = 0) -> bytearray:
    """Three records, packed as a producer does, at these offsets."""
    builder = MemoryRecordsBuilder(2, CODECS[kind], 1 << 20)
    for n, value in enumerate(VALUES):
        builder.append(1000 + n, b"k", value, [("h", b"v")])
    builder.close()
    packed = bytearray(builder.buffer())
    packed[:8] = base.to_bytes(8, "big")  # the CRC does not cover it
    return packed


def records_of(packed: bytes, fetch_offset: int = 0) -> Any:
    """As the fetcher makes them of one partition's answer."""
    copy_less()
    return _Records(fetch_offset, PLACE, MemoryRecords(bytes(packed)))


def outcome(records: Any) -> list[tuple[int, bytes]] | Fatal:
    """All records, or what the reader ends with; the client's own loop, bounded."""
    taken: list[tuple[int, bytes]] = []
    for _ in range(10):
        if not records:
            return taken
        try:
            taken += [(record.offset, record.value) for record in records.take(2)]
        except Fatal as error:
            return error
    raise AssertionError("it turns for ever")


@pytest.mark.parametrize("kind", CODECS)
def test_every_codec_is_read(kind: str) -> None:
    """All codecs that Kafka has come with the worker."""
    assert missing_codecs() == {}
    assert outcome(records_of(batch(kind))) == list(enumerate(VALUES))


@pytest.mark.parametrize(("kind", "hidden"), [("snappy", "snappy"), ("lz4", "lz4"), ("zstd", "zstd")])
def test_a_codec_that_is_missing_is_named_with_the_place(
    kind: str, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Topic, partition, offset and cause in one line; the same line again, however often it is asked."""
    packed = batch("none") + batch(kind, 3)
    monkeypatch.setattr(codec, hidden, None)
    assert list(missing_codecs()) == [kind]
    records = records_of(packed)
    assert [record.offset for record in records.take(10)] == [0, 1, 2]
    for _ in range(3):
        with pytest.raises(Fatal, match=rf"frames/3/3: .*UnsupportedCodecError: .*{kind}.*check") as told:
            records.take(10)
        assert told.value.exit_code == 1
        assert "\n" not in str(told.value)


@given(st.sampled_from(list(CODECS)), st.data())
def test_any_damage_is_either_told_or_harmless(kind: str, data: st.DataObject) -> None:
    """One byte changed anywhere in a batch, with or without a CRC that fits again: no loop, no other records."""
    packed = batch(kind)
    at = data.draw(st.integers(8, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    found = outcome(records_of(packed))
    assert isinstance(found, Fatal) or found in (list(enumerate(VALUES)), [])


@given(st.sampled_from(["gzip", "snappy", "lz4", "zstd"]), st.binary(max_size=200))
def test_garbage_under_a_good_crc_ends_the_reader(kind: str, garbage: bytes) -> None:
    """A producer that lies about its codec: whatever the decompressor raises, the place is told."""
    from kafka.record.util import calc_crc32c

    packed = batch(kind)[:61] + garbage
    packed[8:12] = (len(packed) - 12).to_bytes(4, "big")
    packed[17:21] = calc_crc32c(memoryview(packed)[21:]).to_bytes(4, "big")
    assert isinstance(found := outcome(records_of(packed)), Fatal)
    assert str(found).startswith("frames/3/0: the batch cannot be unpacked (")


def test_a_broker_that_calls_its_own_log_corrupt_is_believed() -> None:
    """The client would ask again for ever."""
    fetch = SimpleNamespace(topic_partition=PLACE, fetched_offset=7, partition_data=SimpleNamespace(error_code=2))
    with pytest.raises(Fatal, match=r"frames/3/7: .*CorruptRecordError"):
        _refusing(lambda _: None)(fetch)


def test_a_batch_without_an_end_is_told() -> None:
    """A length that reaches beyond the answer: the client would fetch the same bytes for ever."""
    fetch = SimpleNamespace(topic_partition=PLACE, fetched_offset=7, partition_data=SimpleNamespace(error_code=0))

    def parse(_: object) -> None:
        raise KafkaError("Failed to make progress")

    with pytest.raises(Fatal, match=r"frames/3/7: .*KafkaError: Failed to make progress"):
        _refusing(parse)(fetch)
