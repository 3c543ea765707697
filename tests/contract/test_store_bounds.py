"""A bound that may have cost a match is named, and none that cost nothing; the real store and the fake alike."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.contract.world import World, world
from tests.oracle import match as expected
from tests.store_fixtures import event, redis_url, rule
from worker.records import MatchRule, Query

__all__ = ["redis_url", "world"]
TRIMMED_AT = 1000


def ask(world: World, used: MatchRule, kept: list[int], at_us: int) -> Any:
    """After an event at 1000 was trimmed and these were kept."""
    store = world.store(used, bounds=(len(kept), 2**28))
    store.index([event(time) for time in (TRIMMED_AT, *kept)])
    return store.match([Query("frames", "k", at_us, "a", last=True)])[0]


@pytest.mark.parametrize(
    ("mode", "kept", "at_us", "chosen", "bound"),
    [
        ("nearest", [1200], 1050, [], True),
        ("nearest", [1070], 1030, [1070], True),
        ("nearest", [1060], 1030, [1060], True),
        ("nearest", [1059], 1030, [1059], False),
        ("nearest", [1100], 1101, [1100], False),
        ("nearest", [1010], 990, [1010], True),
        ("nearest", [1200], 1101, [1200], False),
        ("latest", [1050], 1100, [1050], False),
        ("latest", [1050], 1040, [], True),
        ("latest", [1050], 1150, [1050], False),
        ("window", [1050, 1060], 1050, [1050, 1060], True),
        ("window", [1040, 1050, 1060], 1050, [1040, 1050, 1060], False),
        ("window", [1001, 1050, 1101], 1050, [1001, 1050, 1101], True),
        ("window", [1040, 1050, 1101], 1100, [1040, 1050, 1101], False),
        ("window", [1050], 1101, [1050], False),
    ],
)
def test_a_bound_is_named_if_it_may_have_cost_the_match(
    world: World, mode: str, kept: list[int], at_us: int, chosen: list[int], bound: bool
) -> None:
    """With a candidate left too: what was trimmed might have been nearer, or would have had its place."""
    found = ask(world, rule(mode, limit=3), kept, at_us)
    assert [one.time_us for one in found.candidates] == chosen
    assert found.bound == ("max_events_per_key" if bound else None)


@pytest.mark.parametrize("mode", ["nearest", "latest", "window"])
def test_without_a_bound_named_a_match_is_that_of_all_events(world: World, mode: str) -> None:
    """Of whatever came in whatever order; and with one named some events were trimmed."""
    chance, named, other = random.Random(mode), 0, 0
    used = rule(mode, limit=3, before_us=30, after_us=20, lateness_us=5)
    for n in range(60):
        store, key = world.store(used, bounds=(chance.randint(1, 12), 2**28)), f"k{n}"
        times = sorted(chance.randrange(1_000, 1_120) + chance.uniform(0, 9) for _ in range(20))
        events = [(int(time) - chance.randrange(4), str(place)) for place, time in enumerate(times)]
        store.index([event(time, name, key) for time, name in events])
        for at_us in range(990, 1_130, 7):
            found = store.match([Query("frames", key, at_us, "a", last=True)])[0]
            right = expected(used, at_us, events)
            if found.bound is None:
                assert list(found.candidates) == right
                other += 1
            else:
                named += list(found.candidates) != right
    assert named > 50
    assert other > 50
