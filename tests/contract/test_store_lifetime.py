"""What a store keeps, and for how long: the real one on a real Valkey and the fake pass the same suite."""

from __future__ import annotations

from typing import Any

from tests.contract.world import World, world
from tests.store_fixtures import event, redis_url, rule
from worker.ports import ContextStore
from worker.records import Candidate, Query
from worker.store.lifetime import Lifetime

__all__ = ["redis_url", "world"]
LIFE = Lifetime.of([rule()])
# Some steps of this size pass before an entity that nobody touches is gone.
STEP_MS = LIFE.data_ms * 2 // 3


def ask(store: ContextStore, time_us: int, token: str = "a", key: str = "k") -> Any:
    return store.match([Query("frames", key, time_us, token)])[0]


def kept(store: ContextStore, *times_us: int) -> list[int]:
    """Which of the events of these times can be fetched."""
    found = store.fetch([("frames", "k", Candidate(time, "e")) for time in times_us])
    return [time for time, record in zip(times_us, found, strict=True) if record is not None]


def test_after_dark_nights_a_camera_keeps_as_many_frames_as_before(world: World) -> None:
    """Texts go on through the night, frames do not; the bytes of frames that are gone count no more (30, 30, 1)."""
    store = world.store(rule(horizon_us=10**7), bounds=(4096, 100_000))
    for night in range(4):
        times = [night * 10**6 + n for n in range(1, 31)]
        store.index([event(time, value=bytes(2_000)) for time in times])
        assert kept(store, *times) == times
        for hour in range(5):
            world.pass_time(STEP_MS)
            ask(store, times[-1] + hour)


def test_a_key_that_only_anchors_touch_stays_whole(world: World) -> None:
    """Question or claim, whatever touches a key keeps all of it."""
    store = world.store(rule())
    store.index([event(1000)])
    for n in range(6):
        world.pass_time(STEP_MS)
        if n % 2:
            ask(store, 1000)
        else:
            assert store.claim("frames", "k", Candidate(1000, "e"), "texts/0/1")
    assert ask(store, 1000).candidates == (Candidate(1000, "e"),)
    assert kept(store, 1000) == [1000]
    assert not store.claim("frames", "k", Candidate(1000, "e"), "texts/0/2")


def test_what_nobody_touches_is_gone_as_a_whole(world: World) -> None:
    """Then the key is as one that was never seen, and begins anew."""
    store = world.store(rule(), bounds=(4096, 5_000))
    store.index([event(1000, value=bytes(3_000))])
    ask(store, 1000)
    world.pass_time(LIFE.data_ms + 1)
    store.index([event(900, value=bytes(3_000))])
    assert kept(store, 900, 1000) == [900]
    assert ask(store, 900).highest_us == 900


def test_one_clock_ahead_takes_no_frame_away(world: World) -> None:
    """What comes after the outlier is late: counted, kept, and found by its anchor."""
    store = world.store(rule())
    hour_us = 3_600_000_000
    assert store.index([event(1000), event(1100), event(1200 + hour_us)]) == 0
    late = [1300 + n * 1_000 for n in range(100)]
    assert store.index([event(time) for time in late]) == 100
    assert kept(store, 1000, 1100, *late[:99], 1200 + hour_us) == [1000, 1100, *late[:99], 1200 + hour_us]
    assert ask(store, 1310).candidates == (Candidate(1300, "e"),)


def test_one_clock_behind_takes_no_frame_away(world: World) -> None:
    """A reset to 1970 is late like any other, and the horizon still goes by the others."""
    store = world.store(rule())
    assert store.index([event(10**9), event(1), event(10**9 + 1), event(10**9 + 2)]) == 1
    assert kept(store, 1, 10**9, 10**9 + 1) == [10**9, 10**9 + 1]


def test_after_a_gap_the_second_event_trims(world: World) -> None:
    """One event after a gap may be an outlier; two are not."""
    store = world.store(rule())
    store.index([event(1000), event(10**9)])
    assert kept(store, 1000) == [1000]
    store.index([event(10**9 + 1)])
    assert kept(store, 1000) == []
    assert ask(store, 1000).bound == "horizon"
