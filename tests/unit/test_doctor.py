"""The clock doctor: a steady offset is told once, with its size; what is only spread is not."""

from __future__ import annotations

import random

from tests.unit.test_align import anchor
from worker.records import Event
from worker.stages.doctor import LEAST_OFFSET_US, MOST_SOURCES, PAIRS, ClockDoctor, Diagnosis


def frame(time_us: int, source: str) -> Event:
    """A frame of this source."""
    return Event("frames", "k", "f", source, time_us, "image/jpeg", b"", anchor("k", 0).record)


def told(doctor: ClockDoctor, deltas: list[int], source: str = "cam") -> list[Diagnosis]:
    """What it says of pairs with these distances."""
    found = [doctor.saw(frame(10**9 + delta, source), 10**9) for delta in deltas]
    return [one for one in found if one is not None]


def test_a_clock_that_is_five_seconds_off_is_told_once() -> None:
    """Also with some jitter, on either side."""
    rng = random.Random(1)
    for offset in (5_000_000, -5_000_000):
        found = told(ClockDoctor(), [offset + rng.randrange(-80_000, 80_000) for _ in range(3 * PAIRS)])
        assert [one.off for one in found] == [True, False, False]
        assert all(abs(one.offset_us - offset) < 50_000 for one in found)


def test_frames_on_both_sides_are_no_offset() -> None:
    """A camera of two frames a second, its clock right: near distances, spread evenly."""
    rng = random.Random(2)
    spread = [rng.randrange(-400_000, 400_000) for _ in range(20 * PAIRS)]
    assert not any(one.off for one in told(ClockDoctor(), spread))


def test_a_small_steady_distance_is_the_cameras_own() -> None:
    """Below the least offset nothing is told, from it on it is."""
    assert [one.off for one in told(ClockDoctor(), [LEAST_OFFSET_US - 1] * PAIRS)] == [False]
    assert [one.off for one in told(ClockDoctor(), [LEAST_OFFSET_US] * PAIRS)] == [True]


def test_sources_are_told_apart_and_bounded() -> None:
    """Each has its own pairs; names from outside cannot fill memory."""
    doctor = ClockDoctor()
    for number in range(MOST_SOURCES + 10):
        assert len(told(doctor, [number * 1_000_000] * PAIRS, f"cam-{number}")) == (number < MOST_SOURCES)
    assert len(doctor._pairs) == MOST_SOURCES
