"""Read, batch, deliver, commit: the loop of every sink."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.broker.intake import Intake
from worker.errors import Poison, Retryable, blamed
from worker.ops.health import Health
from worker.records import Partition, Record, Stage
from worker.sinks.destination import REFUSED, Busy, Destination, Item, item_of
from worker.sinks.letters import Letters
from worker.sinks.retry import Backoff

IDLE_SECONDS = 0.2
# A turn delivers for so long before it polls again: the group counts on a member that polls.
TURN_SECONDS = 1.0
# Single deliveries share a commit: after a crash up to so much is delivered again, under the same ids.
COMMIT_EVERY_SECONDS = 0.2
LAG_EVERY_SECONDS = 1.0
_NO_END = 2**63
# What nobody foresaw and lies in what a result holds: text that is no Unicode, a time before the year 1. Any other is
# the process's, which ends with nothing of the batch committed.
_OF_A_RESULT = (ValueError, TypeError, LookupError, ArithmeticError)
_DESTINATION, _KAFKA = "destination", "kafka"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of what is read and not delivered; `once`: the sink ends where the topic ended when it had joined, or at `until`,
    of which nothing at or behind is taken: a replay writes to the topic that it reads."""

    batch: int
    max_bytes: int
    max_delay_seconds: float
    drain_seconds: float
    once: bool = False
    until: Mapping[Partition, int] = field(default_factory=dict)


class Frame:
    """Delivers what the intake reads. Used by one thread, `stop` by any.

    1. What was read is read as results; what is none becomes a dead letter in its turn.
    2. A batch is delivered when it is full or old enough, in the order in which it was read.
    3. What the destination refuses for good is found by halving, and becomes a dead letter.
    4. When the destination has acknowledged, and Kafka the dead letters, offsets are committed.
    5. While the destination is away reading is paused; nothing is given up, however long that takes.
    """

    def __init__(
        self, name: str, make: Callable[[Callable[..., None]], Intake], destination: Destination, letters: Letters,
        bounds: Bounds, backoff: Backoff, observer: Any, health: Health, log: Any,
    ) -> None:  # fmt: skip
        self._name, self._destination, self._letters, self._bounds = name, destination, letters, bounds
        self._backoff, self._observer, self._health, self._log = backoff, observer, health, log
        self._pending: deque[tuple[float, Record, Item | Poison]] = deque()
        self._bytes = 0
        self._not_before = self._committed_at = self._lag_at = 0.0
        self._ends: Mapping[Partition, int] | None = bounds.until or None
        self._lags: set[Partition] = set()
        self._stopped = False
        self._intake = make(self._begins)

    def stop(self) -> None:
        """Nothing more is read; what was read is delivered, as long as `drain_seconds` last."""
        self._stopped = True

    def behind_seconds(self) -> float:
        """How long the oldest result that was read ought to be delivered, by its record's time; 0: none is late. Of any
        thread, so that it goes on where this one stands still."""
        with contextlib.suppress(IndexError):
            age_seconds = time.time() - self._pending[0][1].timestamp_ms / 1000
            return max(0.0, age_seconds - self._bounds.max_delay_seconds)
        return 0.0

    def left(self) -> str:
        """What the end by force leaves behind."""
        return f"{len(self._pending)} results that were read are not delivered; a successor reads them again"

    def run(self) -> bool:
        """Until `stop`, or with `once` until all is delivered; True when nothing that was read is left."""
        while not self._stopped:
            self._health.beat()
            ends = self._bounds.once and self._has_read_all()
            self._turn(more=not ends)
            if ends and not (self._pending or self._intake.uncommitted):
                break
        until = time.monotonic() + self._bounds.drain_seconds
        self._health.block("draining", "the sink ends")
        while (self._pending or self._intake.uncommitted) and time.monotonic() < until:
            self._turn(more=False)
        return not self._pending and not self._intake.uncommitted

    def _turn(self, more: bool = True) -> None:
        now = time.monotonic()
        full = len(self._pending) >= self._bounds.batch or self._bytes >= self._bounds.max_bytes
        try:
            self._take(*self._intake.poll(self._patience(now), more and not full and now >= self._not_before))
        except Retryable as error:
            self._health.block(_KAFKA, str(error))
            return
        self._health.clear(_KAFKA)
        began = self._committed_at = time.monotonic()
        while self._is_due(more) and time.monotonic() - began < TURN_SECONDS and self._deliver():
            if time.monotonic() - self._committed_at >= COMMIT_EVERY_SECONDS:
                self._commit()
        self._commit()  # The next poll may give partitions to others.
        self._tell_lag()

    def _patience(self, now: float) -> float:
        """How long the poll may wait for records."""
        if now < self._not_before:
            return min(IDLE_SECONDS, self._not_before - now)
        due = self._pending[0][0] + self._bounds.max_delay_seconds - now if self._pending else IDLE_SECONDS
        return max(0.0, min(IDLE_SECONDS, due)) if not self._is_due() else 0.0

    def _take(self, records: Sequence[Record], gone: frozenset[Partition]) -> None:
        """1."""
        if gone:
            self._pending = deque(one for one in self._pending if one[1].lies_on not in gone)
            self._bytes = sum(len(record.value or b"") for _, record, _ in self._pending)
        now = time.monotonic()
        for record in records:
            if record.offset >= self._bounds.until.get(record.lies_on, _NO_END):
                continue
            try:
                found: Item | Poison = item_of(record)
            except Poison as poison:
                found = poison
            self._pending.append((now, record, found))
            self._bytes += len(record.value or b"")

    def _is_due(self, more: bool = True) -> bool:
        if not self._pending or time.monotonic() < self._not_before:
            return False
        full = len(self._pending) >= self._bounds.batch or self._bytes >= self._bounds.max_bytes
        return full or not more or time.monotonic() - self._pending[0][0] >= self._bounds.max_delay_seconds

    def _deliver(self) -> bool:
        """2 to 4, once; False: it has to be tried again later."""
        taken = [self._pending[n] for n in range(min(self._bounds.batch, len(self._pending)))]
        try:
            refused = dict(self._halve([item for _, _, item in taken if isinstance(item, Item)]))
            self._settle([(record, item if isinstance(item, Poison) else refused.get(record.place))
                          for _, record, item in taken])  # fmt: skip
        except Retryable as error:
            self._failed(error)
            return False
        if self._backoff.tries:
            self._log.info("the destination takes results again", sink=self._name, tries=self._backoff.tries)
        self._backoff.worked()
        self._health.clear(_DESTINATION)
        for _ in taken:
            self._bytes -= len(self._pending.popleft()[1].value or b"")
        return True

    def _halve(self, items: list[Item]) -> list[tuple[Any, Poison]]:
        """3. What is refused, by its place."""
        if not items:
            return []
        try:
            self._destination.deliver(items)
        except Poison as error:
            poison = error
        except _OF_A_RESULT as error:
            poison = blamed(error, Stage.PUBLISH, REFUSED, what="the result cannot be delivered")
        else:
            return []
        if len(items) == 1:
            return [(items[0].record.place, poison)]
        half = len(items) // 2
        return self._halve(items[:half]) + self._halve(items[half:])

    def _settle(self, judged: list[tuple[Record, Poison | None]]) -> None:
        metadata, now_ms = self._letters.settle(judged), time.time() * 1000
        for record, bad in judged:
            self._intake.done(record, metadata)
            if bad is None:
                self._observer.count("sink_delivered_total", sink=self._name)
                age_seconds = max(0.0, now_ms - record.timestamp_ms) / 1000
                self._observer.observe("sink_delivery_seconds", age_seconds, sink=self._name)
            else:
                self._observer.count("sink_refused_total", sink=self._name, reason=bad.reason)

    def _failed(self, error: Retryable) -> None:
        """5."""
        seconds = self._backoff.failed(error.after_seconds if isinstance(error, Busy) else 0.0)
        self._not_before = time.monotonic() + seconds
        self._observer.count("sink_retries_total", sink=self._name)
        self._health.block(_DESTINATION, str(error))
        if self._backoff.tries in (1, 10) or self._backoff.tries % 100 == 0:
            self._log.warning("not delivered", sink=self._name, reason=str(error), tries=self._backoff.tries,
                              next_in_seconds=round(seconds, 1))  # fmt: skip

    def _commit(self) -> None:
        self._committed_at = time.monotonic()
        if not self._intake.uncommitted:
            return
        try:
            done = self._intake.commit()
        except Retryable as error:
            self._log.warning("not committed", sink=self._name, reason=str(error))
            return
        self._destination.committed(done)

    def close(self) -> None:
        """Leaves the group."""
        self._intake.close()

    def _begins(self, partition: Partition, offset: int, metadata: str) -> None:
        self._letters.begins(partition, metadata)
        self._destination.begins(partition, offset)

    def _tell_lag(self) -> None:
        now = time.monotonic()
        if now - self._lag_at < LAG_EVERY_SECONDS:
            return
        self._lag_at, held = now, self._intake.held
        first = {record.lies_on: record.offset for _, record, _ in reversed(self._pending)}
        for partition in self._lags - held:
            self._lag(partition, float("nan"))
        for partition, (end, _) in self._intake.ends().items():
            if partition in held:
                at = first[partition] if partition in first else self._intake.position(partition)
                self._lag(partition, max(0, end - at))
        self._lags = set(held)

    def _lag(self, partition: Partition, records: float) -> None:
        self._observer.gauge("sink_lag_records", records, sink=self._name, partition=str(partition.number))

    def _has_read_all(self) -> bool:
        """The ends as they were first seen are behind."""
        if not self._intake.settled:
            return False
        if self._ends is None:
            ends = {partition: end for partition, (end, _) in self._intake.ends().items()}
            self._ends = ends if ends.keys() == self._intake.held else None
            return False
        return all(self._intake.position(p) >= end for p, end in self._ends.items() if p in self._intake.held)
