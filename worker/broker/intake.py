"""Committed records of topics -> those that are to be delivered, in order, and the offsets that may be committed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from worker.errors import Retryable
from worker.records import Partition, Record


class Intake:
    """One member of the group of a sink or feed. Used by one thread.

    Guarantees: a partition's records come in order, from the committed offset on, none twice under one lease; offsets
    are committed under the lease alone under which their records were read. What was delivered when Kafka had begun a
    rebalance cannot be committed any more (kafka-python 3.0.12 refuses it, and waits in no listener): the partition's
    next owner delivers it again.
    """

    def __init__(self, make: Callable[[Callable[[frozenset[Partition]], None]], Any], begins: Callable[..., None]):
        """`make` gives the source; `begins`: partition, offset, metadata."""
        self._begins = begins
        self._next: dict[Partition, tuple[int, int]] = {}  # partition -> lease, the next offset
        self._opening: dict[Partition, int] = {}
        self._done: dict[Partition, tuple[int, str]] = {}
        self._source = make(lambda gone: None)

    def poll(self, timeout_seconds: float, more: bool) -> tuple[list[Record], frozenset[Partition]]:
        """New records, and partitions whose earlier records are to be forgotten; `more` False: none is asked for, yet
        of a partition that was just assigned some may come.

        Raises:
            Retryable: Kafka is away.
            Fatal: an offset is gone, or access is denied.
        """
        self._pause(more)
        polled = self._source.poll(timeout_seconds)
        gone = polled.revoked | frozenset(polled.assigned)
        for partition in gone:
            for known in (self._next, self._opening, self._done):
                known.pop(partition, None)
        self._opening |= polled.assigned
        found = [record for record in polled.records if self._is_next(record)]
        with contextlib.suppress(Retryable):
            self._open()
        return found, gone

    def _pause(self, more: bool) -> None:
        held = set(self._source.leases)
        if more:
            self._source.resume(self._source.paused & held)
        else:
            self._source.pause(held - self._source.paused)

    def _is_next(self, record: Record) -> bool:
        """A record from before the place of its partition was known is read again."""
        lease, at = self._next.get(record.lies_on, (-1, 0))
        if record.lease != lease or record.offset < at:
            return False
        self._next[record.lies_on] = lease, record.offset + 1
        return True

    def _open(self) -> None:
        for partition, lease in list(self._opening.items()):
            offset, metadata = self._source.committed(partition) or self._source.begin(partition, "")
            self._source.seek(partition, offset)
            self._begins(partition, offset, metadata)
            self._next[partition] = lease, offset
            del self._opening[partition]

    def done(self, record: Record, metadata: str) -> None:
        """The record has its outcome, and so have all before it on its partition."""
        lease, _ = self._next.get(record.lies_on, (-1, 0))
        if lease == record.lease:
            self._done[record.lies_on] = record.offset + 1, metadata

    @property
    def uncommitted(self) -> bool:
        """Something was delivered that Kafka does not know of."""
        return bool(self._done)

    def commit(self) -> dict[Partition, int]:
        """Commits all that is done; what Kafka has now.

        Raises:
            Retryable: Kafka did not answer, or the group has moved on; nothing is forgotten.
        """
        done = dict(self._done)
        self._source.commit_later(done)
        self._source.send_commits()
        self._done = {p: told for p, told in self._done.items() if done.get(p) != told}
        return {partition: offset for partition, (offset, _) in done.items()}

    @property
    def held(self) -> frozenset[Partition]:
        """The partitions whose place is known."""
        return frozenset(self._next)

    @property
    def settled(self) -> bool:
        """This member has partitions, and knows the place of each."""
        return bool(self._next) and not self._opening

    def ends(self) -> dict[Partition, tuple[int, float]]:
        """Held partition -> (where what is committed ended, monotonic seconds when that was asked for)."""
        return self._source.ends()  # type: ignore[no-any-return]

    def position(self, partition: Partition) -> int:
        """The next offset that a poll brings; where Kafka answers, behind the markers of transactions."""
        with contextlib.suppress(Retryable):
            return self._source.position(partition) or self._next[partition][1]
        return self._next[partition][1]

    def close(self) -> None:
        """Leaves the group."""
        self._source.close()
