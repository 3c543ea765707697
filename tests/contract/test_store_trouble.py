"""A server that is full, or is cut off half way through a call: the real store and the fake pass the same suite."""

from __future__ import annotations

import pytest

from tests.contract.world import World, world
from tests.store_fixtures import event, redis_url, rule
from worker.errors import Full, Retryable
from worker.flows import PartitionFlow
from worker.records import Candidate, Partition, Query

__all__ = ["redis_url", "world"]
RULE = rule(lateness_us=50)


def test_a_full_server_takes_what_the_slowest_anchor_waits_for(world: World) -> None:
    """Of each key all up to the first event that completes it; it names the others, which go in when there is room."""
    store = world.store(RULE)
    events = [event(time, key=key) for key in ("a", "b") for time in (1000, 1100, 1151, 1152, 2000)]
    world.fill(True)
    with pytest.raises(Full, match="maxmemory") as caught:
        store.index(events, needed_us=1000)
    assert sorted(caught.value.refused) == [3, 4, 8, 9]
    found = store.match([Query("frames", key, 1000, key) for key in ("a", "b")])
    assert [(each.complete, each.candidates) for each in found] == [(True, (Candidate(1000, "e"),))] * 2
    world.fill(False)
    assert store.index([events[n] for n in sorted(caught.value.refused)]) == 0


def test_a_full_server_gives_up_what_no_unfinished_anchor_can_want(world: World) -> None:
    """And says so to one that comes for it all the same."""
    store = world.store(RULE)
    store.index([event(time) for time in (900, 999, 1000, 1100, 5000)])
    world.fill(True)
    with pytest.raises(Full):
        store.index([event(5001)], needed_us=1100)
    assert [store.fetch([("frames", "k", Candidate(time, "e"))])[0] is None for time in (900, 999, 1000, 1100)] == [
        True, True, False, False,
    ]  # fmt: skip
    assert store.match([Query("frames", "k", 1000, "a", last=True)])[0].bound is None
    assert store.match([Query("frames", "k", 990, "a", last=True)])[0].bound == "maxmemory"


def test_without_unfinished_anchors_it_keeps_the_last_window(world: World) -> None:
    """An outlier does not say where that is."""
    store = world.store(RULE)
    store.index([event(time) for time in (900, 999, 1240, 1249)])
    world.fill(True)
    with pytest.raises(Full):
        store.index([event(10**9)])
    kept = [store.fetch([("frames", "k", Candidate(time, "e"))])[0] is not None for time in (900, 999, 1240, 1249)]
    assert kept == [False, True, True, True]


def test_on_a_full_server_the_rest_goes_on(world: World) -> None:
    """Questions, notes, wake-ups, claims, flow, slots and the epoch: they are what empties it."""
    store = world.store(RULE)
    store.index([event(1000)])
    world.fill(True)
    store.enter(store.epoch())
    assert not store.match([Query("frames", "k", 1000, "a")])[0].complete
    assert store.claim("frames", "k", Candidate(1000, "e"), "texts/0/1")
    assert store.exchange_flow({Partition("t", 0): PartitionFlow(1, 2, 3)}).partitions
    assert store.lease_slot() == 0
    assert store.renew_slot()
    assert store.index([event(1151)], needed_us=1100) == 0
    assert store.woken() == ["a"]
    store.release_slot()


@pytest.mark.parametrize("after", range(7))
def test_a_call_that_breaks_half_way_is_mended_by_its_repetition(world: World, after: int) -> None:
    """Nothing is late, lost or kept twice, and whoever waits is woken."""
    store = world.store(RULE)
    keys = ("a", "b", "c")
    assert not any(found.complete for found in store.match([Query("frames", key, 1000, key) for key in keys]))
    events = [event(time, key=key) for time in (1000, 1151) for key in keys]
    world.break_after(after)
    with pytest.raises(Retryable):
        store.index(events)
    world.break_after(None)
    assert store.index(events) == 0
    assert sorted(set(store.woken())) == sorted(keys)
    found = store.match([Query("frames", key, 1000, key) for key in keys])
    assert [(each.complete, each.candidates, each.bound) for each in found] == [
        (True, (Candidate(1000, "e"),), None)
    ] * 3
