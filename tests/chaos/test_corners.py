"""The promises hold in the corners too: clocks, nights, fail-over, refusals, poison, eviction, codecs, growth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chaos.corners import HORIZON_US, PARTS, corners, planned
from tests.chaos.days import Story
from tests.chaos.ground import Ground
from tests.chaos.mutants import CORNERED
from tests.chaos.poison import kinds


def test_a_seed_repeats_its_story() -> None:
    """The same faults, records and ends; every kind of poison is among them."""
    told = []
    for _ in range(2):
        faults = planned(7, PARTS, rounds=1)
        told.append((faults, Story(7, faults, PARTS, 10**15, keys=6, rate=0.01, horizon_us=HORIZON_US).days()))
    assert told[0] == told[1]
    names = [record.name for day in told[0][1] for record in day]
    assert not [kind for kind in kinds() if not any(name.startswith(kind.replace(" ", "-")) for name in names)]


@pytest.mark.long
def test_all_corners_at_once(ground: Ground, tmp_path: Path) -> None:
    """Each event has the outcome that it must have, whatever else befalls the others, in order, once."""
    found = corners(ground, tmp_path, seed=1, parts=PARTS.keys() - {"kills"}, keys=6, say=print)
    assert not found, str(found)


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
def test_each_corner_by_itself(ground: Ground, tmp_path: Path, part: str) -> None:
    """As above, of one part alone: what fails in the whole storm is pinned to it."""
    found = corners(ground, tmp_path, seed=2, parts={part}, rounds=2, say=print)
    assert not found, str(found)


SCENES = {
    "eviction_ignored": "eviction",
    "any_clock_believed": "clocks",
}


def test_every_cornered_mutant_has_its_scene() -> None:
    """None is forgotten."""
    assert SCENES.keys() == CORNERED.keys()


@pytest.mark.long
@pytest.mark.parametrize("mutant", SCENES)
def test_a_wrong_worker_is_seen_in_its_corner(ground: Ground, tmp_path: Path, mutant: str) -> None:
    """The same days that the worker passes show what its mutant does."""
    try:
        found = str(corners(ground, tmp_path, seed=2, parts={SCENES[mutant]}, patience_seconds=15.0, mutant=mutant))
    except AssertionError as error:
        found = str(error)
    assert re.search(r"[1-9]\d* (lost|changed)|held up", found), f"the mutant passed: {found}"
    assert "ended by themselves" not in found
