"""Fused and their Outcomes -> the last verdicts, as they were made: references alone, bounded in number and bytes."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from worker.records import Aligned, Event, Outcome
from worker.stages.batch import Fused

# As many as fit a screen.
MOST = 12
# Of bodies, which would be let go of otherwise: more than twelve frames of a large camera.
KEPT_BYTES = 16 << 20


@dataclass(slots=True, eq=False)
class Seen:
    """What became of one anchor.

    Attributes:
        number: rises by one with each, from 1 on.
        outcome: without bodies where `aligned` is None.
        aligned: with its bodies; None where these are larger than all that may be kept.
        shown: what is told of it; made when somebody looks for the first time.
    """

    number: int
    outcome: Outcome
    aligned: Aligned | None
    bytes: int
    shown: dict[str, Any] | None = field(default=None, repr=False)


class LastSeen:
    """The newest verdicts. `hear` is called by the threads that serve, `now` by those that look."""

    def __init__(self, most: int = MOST, kept_bytes: int = KEPT_BYTES) -> None:
        self._most, self._kept_bytes = most, kept_bytes
        self._lock = threading.Lock()
        self._seen: deque[Seen] = deque()
        self._bytes = 0
        self._numbers = itertools.count(1)

    def hear(self, batch: Sequence[Fused], outcomes: Sequence[Outcome]) -> None:
        """The newest of a batch, in its order."""
        with self._lock:
            for one, outcome in zip(batch[-self._most :], outcomes[-self._most :], strict=True):
                self._keep(one.aligned, outcome)

    def _keep(self, aligned: Aligned, outcome: Outcome) -> None:
        size = _bytes(aligned.anchor)
        for found in aligned.inputs.values():
            for event in found:
                size += _bytes(event)
        if outcome.rejected:
            size += sum(one.record.value_bytes for one in outcome.rejected if one.record is not outcome.record)
        if size <= self._kept_bytes:
            self._seen.append(Seen(next(self._numbers), outcome, aligned, size))
        else:
            self._seen.append(Seen(next(self._numbers), _without_bodies(outcome), None, 0))
        self._bytes += self._seen[-1].bytes
        while len(self._seen) > self._most or self._bytes > self._kept_bytes:
            self._bytes -= self._seen.popleft().bytes

    def now(self) -> list[Seen]:
        """The oldest first."""
        with self._lock:
            return list(self._seen)


def _bytes(event: Event) -> int:
    """Of its bodies alone, not as `Event.size`, which takes ten times as long: this is asked while results wait."""
    record, body = event.record, event.payload
    size = len(body)
    if record.value is not body and record.value is not None:
        size += len(record.value)
    if record.masked is not None and record.masked.raw is not None:
        size += record.masked.came_bytes
    return size


def _without_bodies(outcome: Outcome) -> Outcome:
    """What is told of it; a dead letter holds a body, a result none."""
    bodies = {id(one.record.value) for one in outcome.rejected}
    rejected = [replace(one, record=replace(one.record, value=None, masked=None)) for one in outcome.rejected]
    record = replace(outcome.record, value=None, masked=None)
    outgoing = tuple(out for out in outcome.outgoing if id(out.value) not in bodies)
    return replace(outcome, record=record, outgoing=outgoing, rejected=tuple(rejected))
