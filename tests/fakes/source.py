"""A Source in memory: logs, one member of the group, and what the group has committed."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from worker.ports import Polled
from worker.records import Partition, Record


class FakeSource:
    """worker.ports.Source without a broker; a paused partition stays so until it is resumed."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        """`counts`: topic -> partitions; all but the `withheld` are this member's from the next poll on."""
        self.counts = dict(counts)
        self.logs: defaultdict[Partition, list[Record]] = defaultdict(list)
        self.commits: dict[Partition, tuple[int, str]] = {}
        self.positions: dict[Partition, int] = {}
        self.paused: set[Partition] = set()
        self.withheld: set[Partition] = set()
        self.leases: dict[Partition, int] = {}
        self.membership: Any = None
        self.reset_to_end = False
        self._revoked: set[Partition] = set()
        self.max_poll_records = 500
        self._next_lease = 0

    def send(self, record: Record) -> None:
        """Appends to the record's partition, at the next offset."""
        log = self.logs[Partition(record.topic, record.partition)]
        log.append(replace(record, offset=len(log)))

    def revoke(self, *partitions: Partition) -> None:
        """The next poll tells of it; others hold them from now on."""
        self._revoked.update(partitions)
        self.withheld.update(partitions)

    def poll(self, timeout_seconds: float) -> Polled:
        """See Source.poll: one partition after the other, as far as `max_poll_records` goes."""
        self.membership, new, revoked = "generation 1", {}, frozenset(self._revoked)
        self._revoked.clear()
        for partition in revoked:
            del self.leases[partition]
        for partition in [Partition(topic, n) for topic, count in self.counts.items() for n in range(count)]:
            if partition not in self.leases and partition not in self.withheld:
                self.seek_to_start(partition)
                new[partition] = self.leases[partition] = self._lease()
        found: list[Record] = []
        for partition in [each for each in self.leases if each not in self.paused]:
            begin = self.positions[partition]
            taken = self.logs[partition][begin : begin + self.max_poll_records - len(found)]
            self.positions[partition] += len(taken)
            found += [replace(record, lease=self.leases[partition]) for record in taken]
        return Polled(found, new, revoked)

    def refused(self) -> bool:
        """See Source.refused: this member always hears."""
        return False

    def _lease(self) -> int:
        self._next_lease += 1
        return self._next_lease

    def renew_leases(self) -> dict[Partition, int]:
        """See Source.renew_leases."""
        self.leases = {partition: self._lease() for partition in self.leases}
        return dict(self.leases)

    def committed(self, partition: Partition) -> tuple[int, str] | None:
        """See Source.committed."""
        return self.commits.get(partition)

    def begin(self, partition: Partition, metadata: str) -> tuple[int, str]:
        """See Source.begin."""
        self.seek_to_start(partition)
        self.commits[partition] = self.positions[partition], metadata
        return self.commits[partition]

    def partitions_of(self, topic: str) -> int:
        """See Source.partitions_of."""
        return self.counts[topic]

    def counted_at(self, topic: str) -> float:
        """See Source.counted_at; asked for just now."""
        return time.monotonic()

    def position(self, partition: Partition) -> int:
        """See Source.position."""
        return self.positions[partition]

    def ends(self) -> dict[Partition, tuple[int, float]]:
        """See Source.ends; asked for just now."""
        return {partition: (len(self.logs[partition]), time.monotonic()) for partition in self.leases}

    def seek(self, partition: Partition, offset: int) -> None:
        """See Source.seek."""
        self.positions[partition] = offset

    def seek_to_start(self, partition: Partition) -> None:
        """See Source.seek_to_start."""
        self.positions[partition] = len(self.logs[partition]) if self.reset_to_end else 0

    def first_offset(self, partition: Partition) -> int:
        """See Source.first_offset."""
        return 0

    def offset_at(self, partition: Partition, timestamp_ms: int) -> int | None:
        """See Source.offset_at."""
        return next((r.offset for r in self.logs[partition] if r.timestamp_ms >= timestamp_ms), None)

    def pause(self, partitions: Iterable[Partition]) -> None:
        """See Source.pause."""
        self.paused |= set(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """See Source.resume."""
        self.paused -= set(partitions)

    def commit_later(self, offsets: Mapping[Partition, tuple[int, str]]) -> None:
        """See Source.commit_later."""
        self.commits.update(offsets)

    def send_commits(self) -> None:
        """See Source.send_commits."""
