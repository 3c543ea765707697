"""Distances of matched pairs -> which source's clock is off, and by how much.

A camera whose clock is right is matched as often a little before its anchor as a little after. One that is matched
always on the same side, always at about the same distance, has a clock (or a path to its stamp) that is off by that.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass

from worker.records import Event

# Pairs of one source that are looked at together; fewer say little about a median, more are slow to see a change.
PAIRS = 60
# Below this a steady distance may be the camera's own: exposure, encoding, the text's typing.
LEAST_OFFSET_US = 200_000
# A steady offset stands out from its own spread; that of frames spread evenly round their anchors does not.
LEAST_SPREADS = 3
# Sources come from outside: only the first are watched, so that they can fill neither memory nor metrics.
MOST_SOURCES = 50


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known of a source's clock.

    Attributes:
        offset_us: median of event time minus anchor time over the last pairs.
        off: True the first time that it is steadily off.
    """

    offset_us: int
    off: bool


class ClockDoctor:
    """Watches the sources of one worker's matched pairs."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], deque[int]] = {}
        self._warned: set[tuple[str, str]] = set()

    def saw(self, event: Event, anchor_us: int) -> Diagnosis | None:
        """A pair was matched; None until another `PAIRS` of its source are together."""
        name = (event.stream, event.source)
        if name not in self._pairs and len(self._pairs) >= MOST_SOURCES:
            return None
        pairs = self._pairs.setdefault(name, deque())
        pairs.append(event.time_us - anchor_us)
        if len(pairs) < PAIRS:
            return None
        offset = statistics.median(pairs)
        spread = statistics.median(abs(pair - offset) for pair in pairs)
        pairs.clear()
        is_off = abs(offset) >= LEAST_OFFSET_US and abs(offset) > LEAST_SPREADS * spread
        first = is_off and name not in self._warned
        if first:
            self._warned.add(name)
        return Diagnosis(round(offset), first)
