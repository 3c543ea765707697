"""Assigned partitions -> open ones: a lease begins where the group has committed, and its records wait until then."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from worker.errors import Retryable
from worker.pipeline.contexts import Contexts
from worker.ports import Health, Log, Source
from worker.records import Partition, Record
from worker.stages.commit import Committer
from worker.stages.ledger import Ledger

# A lease that could not begin is tried again after this long, and each time after twice as long up to the most: asking
# holds the loop for some seconds where the partition has no leader, and all others would stand as long.
AGAIN_SECONDS = 1.0
MOST_AGAIN_SECONDS = 30.0


class Leases:
    """The partitions that this worker was assigned and that are not open yet."""

    def __init__(
        self, source: Source, contexts: Contexts, committer: Committer, anchor_topic: str, health: Health, log: Log
    ) -> None:
        self._source, self._contexts, self._committer = source, contexts, committer
        self._anchor_topic, self._health, self._log = anchor_topic, health, log
        self._opening: dict[Partition, int] = {}
        self._again: dict[Partition, tuple[float, float]] = {}  # when it is tried again, and how long was waited
        self._unread: list[Record] = []

    @property
    def opening(self) -> Collection[Partition]:
        """Those whose lease has not begun: nothing of them is read on."""
        return self._opening.keys()

    def assign(self, leases: Mapping[Partition, int]) -> None:
        """These are to begin."""
        self._opening.update(leases)

    def end(self, partitions: Collection[Partition]) -> None:
        """Leases are over."""
        for partition in partitions:
            self._opening.pop(partition, None)
            self._again.pop(partition, None)
        self._unread = [record for record in self._unread if record.lies_on not in partitions]

    def readable(self, records: Sequence[Record]) -> list[Record]:
        """Of what was read by now, what may be taken; the rest waits here."""
        if not self._opening and not self._unread:
            return list(records)
        every = [*self._unread, *records]
        self._unread = [record for record in every if record.lies_on in self._opening]
        return [record for record in every if record.lies_on not in self._opening]

    def begin(self) -> None:
        """After this poll's records: those of a new lease came from where the client thought it should begin."""
        now, began = time.monotonic(), False
        for partition in [p for p in self._opening if now >= self._again.get(p, (0.0, 0.0))[0]]:
            try:
                self._open(partition)
                began = True
            except Retryable as error:
                self._try_later(partition, error)
                break
        if began:
            self._log.info("partitions", held=sorted(f"{p.topic}/{p.number}" for p in self._source.leases))
        if not self._again:
            self._health.clear("partitions")
        if self._source.membership is not None and not self._opening:
            self._health.clear("starting")

    def _try_later(self, partition: Partition, error: Retryable) -> None:
        """The others go on, and come first the next time."""
        waited = self._again.get(partition, (0.0, 0.0))[1]
        if not waited:
            self._log.warning("a partition waits", reason=str(error))
        wait = min(max(AGAIN_SECONDS, 2 * waited), MOST_AGAIN_SECONDS)
        self._again[partition] = time.monotonic() + wait, wait
        self._opening[partition] = self._opening.pop(partition)
        self._health.block("partitions", str(error))

    def _open(self, partition: Partition) -> None:
        """Begins a lease: reads what the group has committed; the partition stays unread until that is known.

        The client has fetched a position by itself, at another moment; reading begins at the one that the ledger knows.

        Raises:
            Retryable: it is not known yet.
        """
        lease, committed = self._opening[partition], self._source.committed(partition)
        if committed is None:
            committed = self._source.begin(partition, self._contexts.first_note(partition))
        self._committer.resume(partition, committed[1])
        self._contexts.open(partition, lease, committed, self._committer)
        if partition.topic == self._anchor_topic:
            self._committer.open(partition, Ledger(lease, *committed), context=False)
            self._source.seek(partition, committed[0])
        self._unread = [record for record in self._unread if record.lies_on != partition]
        del self._opening[partition]
        self._again.pop(partition, None)
