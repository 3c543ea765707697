"""Records in the store, whole or as a reference: the real store on a real Valkey and the fake pass the same suite."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contract.world import World, world
from tests.store_fixtures import WHOLE, event, redis_url, rule
from worker.records import Candidate, Partition, Reference
from worker.store.codec import encode_record

__all__ = ["redis_url", "world"]


@pytest.mark.parametrize("value", [b"", None, bytes(range(256)) * 200])
def test_records_come_back_whole(world: World, value: bytes | None) -> None:
    """A fetched record is the stored one but for its lease; what is not kept is None."""
    store = world.store(rule(), inline_bytes=WHOLE)
    record = replace(event(1000).record, value=value, key=b"\x00\xff{}:", lease=0)
    store.index([replace(event(1000, "id:\x00|é"), record=replace(record, lease=7))])
    wanted = [("frames", "k", Candidate(1000, "id:\x00|é")), ("frames", "k", Candidate(1000, "none"))]
    assert store.fetch(wanted) == [record, None]


@pytest.mark.parametrize("size", [0, 1, 1024, 1025, 300_000])
def test_a_large_value_stays_in_kafka(world: World, size: int) -> None:
    """Of one over the bound comes back where it lies, and of one up to it the record; both lie side by side."""
    store, topic = world.store(rule(), inline_bytes=1024), "größe/1"
    record = replace(event(1000).record, topic=topic, offset=2**62, partition=2**31 - 1, value=bytes(size))
    store.index([replace(event(1000), record=record), event(1001)])
    found, beside = store.fetch([("frames", "k", Candidate(time, "e")) for time in (1000, 1001)])
    assert beside == event(1001).record
    if size <= 1024:
        assert found == record
    else:
        assert isinstance(found, Reference)
        assert (found.partition, found.offset, found.size) == (Partition(topic, 2**31 - 1), 2**62, size)


def test_what_an_earlier_release_kept_whole_is_read(world: World) -> None:
    """A large value that lies in Redis from before stays readable, and stays where it is when it is read again."""
    before, after = world.store(rule(), inline_bytes=WHOLE), world.store(rule(), inline_bytes=1024)
    large = event(1000, value=bytes(5000))
    before.index([large])
    after.index([large, event(1001, value=bytes(5000))])
    old, new = after.fetch([("frames", "k", Candidate(time, "e")) for time in (1000, 1001)])
    assert old == large.record
    assert isinstance(new, Reference)
    assert encode_record(large.record)[0] == 1


def test_what_went_counts_no_more(world: World) -> None:
    """The bytes of events that the horizon took make room for those that come."""
    store = world.store(rule(), bounds=(100, 250_000), inline_bytes=WHOLE)
    large = bytes(100_000)
    store.index([event(time, value=large) for time in (1000, 1001)])
    store.index([event(time, value=large) for time in (1_000_000, 1_000_001)])
    wanted = [("frames", "k", Candidate(time, "e")) for time in (1000, 1001, 1_000_000, 1_000_001)]
    assert [found is None for found in store.fetch(wanted)] == [True, True, False, False]
