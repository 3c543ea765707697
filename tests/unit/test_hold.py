"""What is held back of a context partition, and when it pauses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.incoming import TIME_US, validator
from tests.unit.worker_in_memory import FRAMES, reading
from worker.records import Event, Partition
from worker.stages import hold
from worker.stages.hold import HoldBack

PLACE, HORIZONS, SECOND_US = Partition(FRAMES, 0), {"sensors": 30_000_000}, 1_000_000


def event(offset: int, at_us: int, size: int = 12) -> Event:
    """A reading at this offset and time."""
    read = validator().read(replace(reading(at_us), offset=offset))
    return replace(read, record=replace(read.record, value=bytes(size)))


def test_a_partition_that_is_ahead_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames read far ahead of texts that are still to be read would push out those that the texts want."""
    monkeypatch.setattr(hold, "MOST_HELD", 20)
    held = HoldBack(2**20)
    for second in range(60):
        held.add(event(second, second * SECOND_US))
    within = held.allowed(HORIZONS, TIME_US)
    assert [one.record.offset for one in within] == list(range(31))
    held.remove(within)
    assert held.full() == {PLACE}
    assert held.stopped({PLACE: 100}) == {PLACE: TIME_US + 31 * SECOND_US}
    assert held.allowed(HORIZONS, TIME_US) == []
    assert len(held.allowed(HORIZONS, TIME_US + 20 * SECOND_US)) == 20


def test_large_bodies_pause_it_sooner() -> None:
    """The bound counts bytes too: half of it may be ahead."""
    held = HoldBack(2000)
    for number in range(4):
        assert held.full() == set()
        held.add(event(number, 60 * SECOND_US, size=250))
    assert held.full() == {PLACE}


def test_one_source_ahead_among_others_does_not_pause_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later events have overtaken its own; past the bound the first of these go into Redis, where they push out
    events of their own key alone."""
    monkeypatch.setattr(hold, "MOST_HELD", 20)
    held, early = HoldBack(2**20), []
    for number in range(100):
        held.add(event(2 * number, 3600 * SECOND_US))
        held.add(event(2 * number + 1, number))
        within = held.allowed(HORIZONS, TIME_US)
        early += [one.record.offset for one in within if one.time_us > TIME_US + 30 * SECOND_US]
        held.remove(within)
        assert held.full() == set()
    assert early == sorted(early)
    assert 78 <= len(early) <= 82
    assert held.first_offset(PLACE) == early[-1] + 2
