"""The oracle against pandas.merge_asof, which was written by others."""

from __future__ import annotations

import random

import pandas as pd
import pytest

from tests.oracle import match, pairs
from worker.records import Candidate, MatchRule


def rule(mode: str, before_us: int, after_us: int, limit: int = 1) -> MatchRule:
    return MatchRule("frames", mode, before_us, after_us, 0, limit, 0, 10**9, False)


def by_pandas(direction: str, anchors: list[int], times: list[int], tolerance: int) -> list[int | None]:
    left = pd.DataFrame({"t": pd.Series(sorted(anchors), dtype="int64")})
    right = pd.DataFrame({"t": pd.Series(sorted(times), dtype="int64")})
    right["found"] = right["t"]
    joined = pd.merge_asof(left, right, on="t", direction=direction, tolerance=tolerance)
    return [None if pd.isna(found) else int(found) for found in joined["found"]]


@pytest.mark.parametrize(("mode", "direction"), [("nearest", "nearest"), ("latest", "backward")])
@pytest.mark.parametrize("seed", range(60))
def test_equals_merge_asof(mode: str, direction: str, seed: int) -> None:
    """Without ties in distance the oracle picks what pandas picks."""
    chance = random.Random(seed)
    # Anchors lie beside every event, and those halfway between two are left out: no two distances are equal.
    times = sorted(4 * t for t in chance.sample(range(1, 400), chance.randint(0, 80)))
    anchors = sorted(4 * chance.randint(0, 400) + 1 for _ in range(50))
    anchors = [a for a in anchors if not any((2 * a - t) in set(times) - {t} for t in times)]
    tolerance = chance.choice([0, 1, 7, 50, 2000])
    ours = [match(rule(mode, tolerance, tolerance), anchor, [(t, f"e{t}") for t in times]) for anchor in anchors]
    assert [found[0].time_us if found else None for found in ours] == by_pandas(direction, anchors, times, tolerance)


def test_ties_go_to_the_earlier_time_then_the_smaller_id() -> None:
    """Equal distance: the earlier; equal time: the smaller id by code point."""
    events = [(110, "a"), (90, "é"), (90, "z")]
    assert match(rule("nearest", 50, 50), 100, events) == [Candidate(90, "z")]
    assert match(rule("latest", 50, 50), 100, events) == [Candidate(90, "z")]


def test_bounds_are_included() -> None:
    """An event exactly `before` or `after` away is in bounds."""
    assert match(rule("nearest", 10, 5), 100, [(90, "a")]) == [Candidate(90, "a")]
    assert match(rule("nearest", 10, 5), 100, [(105, "a")]) == [Candidate(105, "a")]
    assert match(rule("nearest", 10, 5), 100, [(89, "a"), (106, "b")]) == []


def test_window_takes_the_nearest_in_time_order() -> None:
    """Of more than `limit` events the nearest stay, and come out by time."""
    events = [(t, f"e{t}") for t in (60, 80, 95, 103, 120)]
    assert [c.time_us for c in match(rule("window", 50, 50, limit=3), 100, events)] == [80, 95, 103]


def test_pairs_of_every_anchor_and_stream() -> None:
    """Each anchor is matched within its own key, in each stream."""
    rules = {"frames": rule("nearest", 10, 10), "sounds": rule("latest", 10, 10)}
    contexts = {"frames": {"k": [(100, "f")]}, "sounds": {"other": [(100, "s")]}}
    found = pairs([("t1", "k", 101)], contexts, rules)
    assert found == {("t1", "frames"): [Candidate(100, "f")], ("t1", "sounds"): []}
