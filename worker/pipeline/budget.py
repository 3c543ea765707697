"""What was read and is not committed -> one account, place by place; past its bounds partitions pause.

The sum of all bytes stays under `max_pending_bytes` and `body_cache_bytes` together, whatever Kafka, Redis or the model
do. Who may still be needed for progress is never stopped by who waits for it: the ring gives way first; then no anchor
is read; what waits for Kafka stops context and the model too, since reading on would not let Kafka take more.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from worker.pipeline.anchors import Anchors
from worker.pipeline.contexts import Contexts
from worker.pipeline.ring import Ring
from worker.ports import Observer
from worker.records import Partition, Record
from worker.stages.backlog import Load
from worker.stages.batch import Batcher
from worker.stages.commit import Committer
from worker.stages.ledgers import Books
from worker.stages.workload import Workload

# Anchors: until they are decided and have their bodies; on the model with all that they take there; their outcomes.
WAITING, INSIDE, QUEUED = "waiting", "inside", "queued"
# Context: bad records on their way to the dead-letter topic; what is held back; what decided anchors hold or await.
DEAD_LETTERS, HELD, AWAITED, RING = "dead_letters", "held", "awaited", "ring"
# A scrape looks every few seconds; each turn would cost as much as reading an event.
TELL_EVERY_SECONDS = 0.1
# Of each record from when it is read, for the result or dead letter that it leads to; one with evidence takes more.
OUTCOME_BYTES = 1_024


@dataclass(frozen=True, slots=True)
class Bounds:
    """Past these the loop slows its reading; it never loses."""

    max_pending_anchors: int
    max_pending_bytes: int
    max_inside: int
    drain_timeout_seconds: float


class Budget:
    """The account of one worker. Used by the loop alone, but for `left`.

    Attributes:
        bounds: what it may come to.
        most_bytes: the bound on the sum.
    """

    def __init__(
        self,
        bounds: Bounds,
        anchors: Anchors,
        batcher: Batcher,
        committer: Committer,
        contexts: Contexts,
        ring: Ring,
        anchor_topic: str,
        observer: Observer,
    ) -> None:
        self.bounds, self.most_bytes = bounds, bounds.max_pending_bytes + ring.most_bytes
        self._anchors, self._batcher, self._committer, self._contexts = anchors, batcher, committer, contexts
        self._ring, self._anchor_topic, self._observer = ring, anchor_topic, observer
        self._step = Load()  # what a poll may bring: anchors, and bytes of all
        self._needed: Collection[Partition] = ()  # anchors that are read on, however many wait
        self._unfinished, self._told, self._books = 0, 0.0, Books()
        self._workload = Workload()

    def account(self) -> dict[str, Load]:
        """By place. What moves on meanwhile is counted twice, never missed."""
        ring = self._ring
        return {
            WAITING: _with_outcomes(len(self._anchors), self._anchors.bytes),
            INSIDE: _with_outcomes(self._batcher.inside, self._batcher.bytes),
            QUEUED: self._committer.queued(self._anchor_topic),
            DEAD_LETTERS: self._committer.queued_beside(self._anchor_topic),
            HELD: Load(0, ring.held_bytes),
            AWAITED: Load(0, ring.awaited_bytes),
            RING: Load(0, ring.ring_bytes),
        }

    def fitting(self, records: Sequence[Record]) -> tuple[Sequence[Record], Mapping[Partition, int]]:
        """Of a poll what is taken, and from which offset on the rest is to be read again. Of a partition that is
        needed the first is taken in any case, and as many as leave context half of the ring's bound; while nothing is
        on its way, the first of each."""
        if not records:
            return records, {}
        count = sum([record.topic == self._anchor_topic for record in records])
        values = sum([len(record.value or b"") for record in records]) + len(records) * OUTCOME_BYTES
        self._step = Load(max(count, self._step.count * 7 // 8), max(values, self._step.bytes * 7 // 8))
        places = self.account()
        left, anchors_left = self._room(places)
        # Keys and headers are weighed only where it may come to them.
        if 2 * values <= left and (not count or Load(count, 2 * values) in anchors_left):
            return records, {}
        taken: list[Record] = []
        again: dict[Partition, int] = {}
        firsts = {record.lies_on for record in records} if _idle(places) else set(self._needed)
        for record in records:
            size = self._size(record)
            partition, anchor = record.lies_on, Load(1, size) if record.topic == self._anchor_topic else None
            needed = partition in self._needed and size <= left - self._ring.most_bytes // 2
            fits = size <= left and (anchor is None or anchor in anchors_left or needed)
            if partition in again or not (fits or partition in firsts):
                again.setdefault(partition, record.offset)
                continue
            firsts.discard(partition)
            taken.append(record)
            left, anchors_left = left - size, anchors_left - (anchor or Load())
        return taken, again

    def _size(self, record: Record) -> int:
        """As it is weighed where it goes."""
        return OUTCOME_BYTES + (record.size if record.topic == self._anchor_topic else len(record.value or b""))

    def _room(self, places: Mapping[str, Load]) -> tuple[int, Load]:
        """Bytes that may come of anything, for which the ring would give way; and anchors."""
        anchors = places[WAITING] + places[INSIDE] + places[QUEUED]
        pending = anchors.bytes + places[DEAD_LETTERS].bytes
        pinned = pending + places[HELD].bytes + places[AWAITED].bytes
        bounds = self.bounds
        self._ring.lend(pending - bounds.max_pending_bytes)
        left = Load(bounds.max_pending_anchors - anchors.count, bounds.max_pending_bytes - pending)
        return self.most_bytes - pinned, left

    def inside(self) -> Load:
        """What may go on to the model: past the sum nothing does, unless nothing is on its way."""
        places = self.account()
        left, _ = self._room(places)
        return Load(self.bounds.max_inside - places[INSIDE].count, max(left, int(_idle(places))))

    def stopped(self, held: Collection[Partition]) -> set[Partition]:
        """The partitions that pause.

        1. Dead letters of context stop context, and so does what is on its way once it fills the sum: reading on would
           not let Kafka take more.
        2. Context pauses that would push bodies out of the ring which are still wanted, while anchors wait for the
           model alone.
        3. Anchors on their way stop anchors; but a partition that all context waits for is read on, unless it is
           Kafka that they wait for.
        """
        anchors = {partition for partition in held if partition.topic == self._anchor_topic}
        places = self.account()
        left, anchors_left = self._room(places)
        dead, queued = places[DEAD_LETTERS], places[QUEUED]
        stop = set[Partition]()
        full = self._past(left, self.most_bytes, self._step.bytes) and not _idle(places)
        if full or self._at_a_bound(dead) or (self._anchors.busy and self._contexts.pressed):
            stop |= set(held) - anchors
        self._needed = ()
        if self._anchors_past(anchors_left):
            self._needed = () if self._at_a_bound(queued) else self._holding_back(anchors)
            stop |= anchors.difference(self._needed)
        return stop

    def _anchors_past(self, left: Load) -> bool:
        count, size = self.bounds.max_pending_anchors, self.bounds.max_pending_bytes
        return self._past(left.count, count, self._step.count) or self._past(left.bytes, size, self._step.bytes)

    def _past(self, left: int, most: int, step: int) -> bool:
        """Whether another poll would be too much; one that is larger than half of the bound counts as half."""
        return left < max(1, min(step, most // 2))

    def _at_a_bound(self, waiting: Load) -> bool:
        """Whether what waits for Kafka is so much by itself."""
        return self._anchors_past(Load(self.bounds.max_pending_anchors, self.bounds.max_pending_bytes) - waiting)

    def _holding_back(self, anchors: Collection[Partition]) -> set[Partition]:
        progress = self._contexts.progress
        unfinished_us = self._committer.unfinished_us(progress.late.before_us)
        return {partition for partition in anchors if progress.holds_back(partition, unfinished_us)}

    def measure(self) -> None:
        """Counts what is unfinished; tells it all a few times a second, the account taken first: so what moves on
        meanwhile is counted twice, never missed."""
        now = time.monotonic()
        if now - self._told < TELL_EVERY_SECONDS:
            self._unfinished = self._committer.unfinished()
            return
        self._told, places, books = now, self.account(), self._committer.books()
        self._unfinished = unfinished = books.pending
        held = sum(places[place].count for place in (WAITING, INSIDE, QUEUED))
        self._observer.gauge("pending_anchors", unfinished)
        self._observer.gauge("unaccounted_anchors", max(0, unfinished - held))
        self._observer.gauge("oldest_pending_seconds", self._anchors.oldest_seconds())
        self._observer.gauge("silent_partitions", len(self._ring.slow))
        self._tell(books)
        self._tell_work(now, books.done, places)
        for place, load in places.items():
            self._observer.gauge("budget_bytes", load.bytes, place=place)
        for place in (WAITING, INSIDE, QUEUED):
            self._observer.gauge("budget_anchors", places[place].count, place=place)

    def _tell(self, books: Books) -> None:
        before, self._books = self._books, books
        self._observer.gauge("imbalance_anchors", books.imbalance)
        for state in ("read", "done", "given_back"):
            self._observer.count("anchors_total", getattr(books, state) - getattr(before, state), state=state)

    def _tell_work(self, now: float, done: int, places: Mapping[str, Load]) -> None:
        """An anchor that waits for context is no work: it is in neither number."""
        unread, decided = self._contexts.progress.unread_anchors, self._anchors.decided
        work = self._workload.saw(now, done, unread + decided + places[INSIDE].count + places[QUEUED].count)
        self._observer.gauge("work_left_seconds", work.left)
        self._observer.count("work_done_seconds_total", work.done)

    def left(self) -> str:
        """What the next owner reads again, as it was last counted; from any thread, without waiting for any."""
        return f"{self._unfinished} anchors read and not committed"


def _with_outcomes(count: int, size: int) -> Load:
    return Load(count, size + count * OUTCOME_BYTES)


def _idle(places: Mapping[str, Load]) -> bool:
    """Whether nothing is on its way that will make room by itself."""
    return not (places[INSIDE].count or places[QUEUED].count or places[DEAD_LETTERS].count)
