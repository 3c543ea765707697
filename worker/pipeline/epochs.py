"""The epoch says whether Redis still holds what was put there; what it has lost is read again (CONTRACT 4.7)."""

from __future__ import annotations

from worker.errors import Retryable
from worker.pipeline.indexing import Indexing
from worker.pipeline.positions import Positions
from worker.pipeline.progress import Progress
from worker.ports import Epoch, Health, Observer, Source
from worker.records import Partition
from worker.stages.hold import NOTHING_YET
from worker.stages.ledger import Ledger


class Epochs:
    """The epoch in which this worker works, and the rebuild after its end."""

    def __init__(
        self,
        epoch: Epoch,
        source: Source,
        positions: Positions,
        indexing: Indexing,
        progress: Progress,
        observer: Observer,
        health: Health,
    ) -> None:
        self._store, self._source, self._positions = epoch, source, positions
        self._indexing, self._progress, self._observer, self._health = indexing, progress, observer, health
        self._entered = ""

    def know(self) -> str:
        """The epoch that was entered; it is asked for once."""
        if not self._entered:
            self._enter(self._store.epoch())
        return self._entered

    def _enter(self, epoch: str) -> None:
        self._entered = epoch
        self._store.enter(epoch)

    def same(self) -> bool:
        """True while Redis is the one that was filled; told with each answer that a decision rests on."""
        return self._store.seen_epoch() == self._entered

    def lost(self) -> dict[Partition, Ledger | None]:
        """Redis has lost context: from where each partition is read again; None: its lease begins once it can be asked.

        1. Ask Kafka for all starts; until they are known nothing has changed, and the step may be repeated. Held events
           come again too, whatever their records' timestamps; a lease that has not begun yet begins so by itself.
        2. Enter the new epoch: what was indexed since the loss lies under the old one's names, where nobody looks.
        """
        epoch, board, leases = self._store.epoch(), self._progress.board, self._source.leases
        mine = [partition for partition in leases if self._positions.covers(partition) and partition in board]
        starts = {partition: self._again_from(partition) for partition in mine}
        self._enter(epoch)
        self._progress.begin_anew()
        self._indexing.begin_anew(starts)
        self._observer.count("redis_rebuilds_total")
        self._health.block("rebuilding", "Redis lost context; it is being read again from Kafka")
        for partition in leases:
            if partition in board:
                board.open(partition)
        board.close(partition for partition, start in starts.items() if start is None)
        return {
            partition: None if start is None else Ledger(leases[partition], start, note=epoch)
            for partition, start in starts.items()
        }

    def _again_from(self, partition: Partition) -> int | None:
        """None: it is absent, and must not keep the others from being read again."""
        position = max(self._source.position(partition) or 0, self._positions.targets.get(partition, 0))
        try:
            start, held = self._positions.before(partition, position), self._indexing.hold.first_offset(partition)
        except Retryable:
            if not self._progress.presence.absent(partition):
                raise
            return None
        if held is None:
            return start
        # What was held is held again, and more of it may come first: it is not what Redis has lost.
        self._positions.targets[partition] = min(position, held)
        return min(start, held)

    def clear_targets(self) -> None:
        """A rebuild has ended once the partition is read to where it was and nothing of it waits to be indexed."""
        targets, slowest_us = self._positions.targets, self._progress.slowest_us
        if not targets:
            return
        waiting = {event.record.lies_on for event in self._indexing.allowed(slowest_us)}
        for partition, target in list(targets.items()):
            read = (self._source.position(partition) or 0) >= target
            if read and slowest_us != NOTHING_YET and partition not in waiting:
                del targets[partition]

    def filled(self) -> bool:
        """True when Redis holds what has been read. Where Redis gets full before, that comes only once anchors have
        left: those may whose key has been filled as far as they need."""
        if filled := self._progress.filled():
            self._health.clear("rebuilding")
        return filled or self._progress.is_full
