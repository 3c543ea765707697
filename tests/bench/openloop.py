"""An open loop: when each event is sent, whatever comes back; and which event a text's result had to wait for."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from tests.bench.backlog import pool
from tests.story import Fed

FRAMES_PER_SECOND = 10.0  # of each camera
TAIL_SECONDS = 1.5  # frames go on after the last text
WITHIN_US = 500_000


class Planned(NamedTuple):
    """An event to be sent at `at` seconds from the start."""

    at: float
    stream: str
    key: str
    body: bytes


def plan(pairs_per_second: float, mix: int, seconds: float, seed: int) -> list[Planned]:
    """Cameras that send steadily, as many as the mix asks for, and texts at random times (Poisson), in their order."""
    rng, bodies = random.Random(seed), pool(seed)
    cameras = max(1, round(pairs_per_second * mix / FRAMES_PER_SECOND))
    made = []
    for number in range(cameras):
        phase = rng.random() / FRAMES_PER_SECOND
        for n in range(int((seconds + TAIL_SECONDS) * FRAMES_PER_SECOND)):
            at = phase + n / FRAMES_PER_SECOND
            made.append(Planned(at, "frames", f"camera-{number}", rng.choice(bodies.frames)))
    for _ in range(round(pairs_per_second * seconds)):
        at, key = rng.random() * seconds, f"camera-{rng.randrange(cameras)}"
        made.append(Planned(at, "texts", key, rng.choice(bodies.reports)))
    return sorted(made)


def needed_us(text_us: int, frames_us: Sequence[int]) -> int | None:
    """When the last event that this text's result needs has come: the text itself, or the first frame (in their order)
    after which none can be nearer. None: no such frame came."""
    nearest = WITHIN_US + 1  # with nothing within reach: past it
    for frame_us in frames_us:
        nearest = min(nearest, abs(frame_us - text_us))
        if frame_us >= text_us + nearest:
            return max(text_us, frame_us)
    return None


def all_needed_us(events: Sequence[Fed]) -> dict[str, int | None]:
    """By the text's id."""
    frames: dict[str, list[int]] = {}
    for event in sorted(events):
        if event.stream == "frames":
            frames.setdefault(event.key, []).append(event.time_us)
    return {e.id: needed_us(e.time_us, frames.get(e.key, ())) for e in events if e.stream == "texts"}


def percentile(values: Sequence[float], part: float) -> float:
    """The least value that this part of all lies at or below (nearest rank)."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def latencies_ms(seen: Mapping[str, float], needed: Mapping[str, int | None]) -> list[float]:
    """Of every text with a result and a last needed event: milliseconds from that to when its result was seen."""
    return [seen[text] * 1000 - at / 1000 for text, at in needed.items() if text in seen and at is not None]


def longest_silence(results: Sequence[tuple[int, float]], begin: float, end: float) -> float:
    """The longest time between one result and the next of the same partition, of (partition, when), in this span."""
    longest = 0.0
    for number in {number for number, _ in results}:
        times = sorted(at for one, at in results if one == number and begin <= at <= end)
        moments = [begin, *times, end]
        longest = max(longest, *(after - before for before, after in pairwise(moments)))
    return longest
