"""A story's events -> the same as a bad night brings them: some lost, some late, some by a wrong clock."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from worker.feeds.story import FeedEvent


@dataclass(frozen=True, slots=True)
class Faults:
    """By stream: the share of events that never come; how much later than they should the others are sent; how far the
    clock is ahead that tells their times."""

    lose: Mapping[str, float] = field(default_factory=dict)
    late_us: Mapping[str, int] = field(default_factory=dict)
    skew_us: Mapping[str, int] = field(default_factory=dict)

    def streams(self) -> set[str]:
        """Those that are named."""
        return {*self.lose, *self.late_us, *self.skew_us}


def injected(events: Iterator[FeedEvent], faults: Faults, seed: int) -> Iterator[FeedEvent]:
    """The events in the order in which they are sent, which is that of their times at first; the same for the same
    seed, and an event that is not lost is the same event."""
    rng = np.random.default_rng([seed, 7])
    held: list[tuple[int, int, FeedEvent]] = []
    for number, event in enumerate(events):
        while held and held[0][0] <= event.time_us:
            yield heapq.heappop(held)[2]
        if rng.random() < faults.lose.get(event.stream, 0.0):
            continue
        due_us = event.time_us + faults.late_us.get(event.stream, 0)
        told = replace(event, time_us=event.time_us + faults.skew_us.get(event.stream, 0), due_us=due_us)
        heapq.heappush(held, (due_us, number, told))
    while held:
        yield heapq.heappop(held)[2]
