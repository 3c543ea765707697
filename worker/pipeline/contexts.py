"""The context side of one worker: the leases of its partitions, and their events' way into Redis."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from worker.errors import Retryable
from worker.pipeline.epochs import Epochs
from worker.pipeline.indexing import Indexing
from worker.pipeline.positions import Positions, settled_of
from worker.pipeline.progress import Progress
from worker.pipeline.ring import Ring
from worker.ports import ContextStore, Health, Log, Observer, Source
from worker.records import Event, MatchRule, Partition
from worker.stages.commit import Committer
from worker.stages.ledger import Ledger


class Contexts:
    """Joins what context goes through.

    Attributes:
        progress: how far everybody has read.
        epochs: whether Redis still holds what it was given.
    """

    def __init__(
        self,
        store: ContextStore,
        source: Source,
        ring: Ring,
        rules: Mapping[str, MatchRule],
        topics: Mapping[str, str],
        anchor_topic: str,
        observer: Observer,
        health: Health,
        log: Log,
    ) -> None:
        """`topics`: context topic -> stream name."""
        self._source, self._observer = source, observer
        self._positions = Positions(source, {topic: rules[name] for topic, name in topics.items()}, observer, log)
        self._indexing = Indexing(store, ring, rules)
        self.progress = Progress(store, source, self._indexing, rules, topics, anchor_topic, observer)
        self.epochs = Epochs(store, source, self._positions, self._indexing, self.progress, observer, health)

    def open(self, partition: Partition, lease: int, committed: tuple[int, str], committer: Committer) -> None:
        """Begins a lease of any input partition; a context whose events Redis has lost is read again from before."""
        self.progress.board.open(partition)
        if not self._positions.covers(partition):
            return
        epoch = self.epochs.know()
        start = self._positions.start(partition, committed, epoch)
        settled = max(committed[0], settled_of(committed[1]))
        committer.open(partition, Ledger(lease, start, note=epoch, settled=settled), context=True)
        self._source.seek(partition, start)

    def first_note(self, partition: Partition) -> str:
        """The metadata with which a group without commits begins: of a context, that Redis lacks nothing before it."""
        return self.describe(partition, self.epochs.know(), 0) if self._positions.covers(partition) else ""

    def describe(self, partition: Partition, epoch: str, settled: int) -> str:
        """The metadata of a context position; `epoch` is the one in which the partition was opened."""
        return self._positions.describe(partition, epoch, settled)

    def close(self, partitions: Collection[Partition]) -> None:
        """Ends leases."""
        self.progress.close(partitions)
        self._indexing.hold.drop(partitions)
        self._positions.close(partitions)

    def add(self, event: Event) -> None:
        """A valid context event was read."""
        self._indexing.hold.add(event)

    def anchor_read(self, event: Event) -> None:
        """A valid anchor was read: its partition has come this far."""
        self.progress.board.read(event.record.lies_on, event.time_us)

    def index(self, committer: Committer) -> Retryable | None:
        """Puts into Redis what may go there now, then lets its offsets be committed; gives back what keeps it from
        that."""
        started = time.perf_counter()
        events, refused = self._indexing.send(self.progress.slowest_us)
        if not events:
            return refused
        now_ms = self.progress.now_us() // 1000
        for event in events:
            partition = event.record.lies_on
            self.progress.board.indexed(partition, event.record.offset, event.time_us)
            # A producer's clock that is ahead of all others must not hide what Redis loses by the time it is reached.
            self._positions.indexed(partition, min(event.record.timestamp_ms, now_ms))
        committer.indexed([event.record for event in events])
        self._observer.observe("stage_seconds", time.perf_counter() - started, stage="align")
        return refused

    def exchange(self, unfinished_us: Mapping[Partition, int]) -> bool:
        """Looks at the partitions' ends and tells the others, a few times a second; True when it did."""
        if not self.progress.is_due():
            return False
        self.epochs.know()
        self.progress.look()
        self.epochs.clear_targets()
        self.progress.exchange(unfinished_us, self._positions.targets)
        return True

    def full(self) -> set[Partition]:
        """The partitions that hold so many events back that they must pause."""
        return self._indexing.hold.full()

    def make_room(self) -> None:
        """What is held back leaves less to the ring."""
        self._indexing.make_room()

    @property
    def pressed(self) -> bool:
        """True when reading on would push bodies out of the ring that the slowest anchor may want."""
        return self._indexing.pressed(self.progress.slowest_us)
