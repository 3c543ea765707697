"""This worker's partitions -> how far each has been read, as it is told to the others (DESIGN 3)."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from worker.flows import PartitionFlow
from worker.records import Partition

# So many events in a row, at least, say how far a partition has been indexed: one source among others whose clock is
# ahead does not. More would lag behind in a sparse partition.
STEADY_EVENTS = 8


@dataclass(frozen=True, slots=True)
class Checked:
    """What one look at a partition's log found: it ended at `end` at `at_us`; by now `position` has been read."""

    position: int
    end: int
    at_us: int


class FlowBoard:
    """This worker's partitions, as it tells the others."""

    def __init__(self) -> None:
        self._own: dict[Partition, PartitionFlow] = {}
        self._reached_us: dict[Partition, int] = {}  # by an anchor partition as it is read, by a context in Redis
        self._recent: dict[Partition, deque[int]] = {}
        self._passed: dict[Partition, int] = {}
        self._lag: dict[Partition, int] = {}
        self._stopped: dict[Partition, tuple[int, int]] = {}  # oldest held event time, and since when it is that

    def open(self, partition: Partition) -> None:
        """A lease begins: nothing is known yet."""
        self._own[partition] = PartitionFlow(None, None, None)
        self._recent[partition] = deque(maxlen=STEADY_EVENTS)
        self._passed.pop(partition, None)
        self._reached_us.pop(partition, None)

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._own

    def close(self, partitions: Iterable[Partition]) -> None:
        """Leases end."""
        for partition in partitions:
            for known in (self._own, self._reached_us, self._recent, self._passed, self._lag, self._stopped):
                known.pop(partition, None)

    def frontier_us(self, partition: Partition) -> int | None:
        """How far an anchor partition was read, or a context indexed; None: nothing yet."""
        return self._reached_us.get(partition)

    def read(self, partition: Partition, time_us: int) -> None:
        """An anchor of this time was read."""
        if partition not in self._own:
            return
        self._recent[partition].append(time_us)
        self._reached_us[partition] = max(time_us, self._reached_us.get(partition, time_us))

    def indexed(self, partition: Partition, offset: int, time_us: int) -> None:
        """A context event was indexed. One that later ones had overtaken says nothing of how far the partition is."""
        if partition not in self._own or offset < self._passed.get(partition, 0):
            return
        self._passed[partition] = offset
        recent = self._recent[partition]
        recent.append(time_us)
        steady_us, reached_us = min(recent), self._reached_us.get(partition)
        if len(recent) < STEADY_EVENTS or reached_us is None or steady_us > reached_us:
            self._reached_us[partition] = steady_us

    def checked(self, found: Mapping[Partition, Checked], held: Collection[Partition]) -> None:
        """Notes which partitions have been read past where they ended; one with held events has not."""
        for partition, look in found.items():
            known = self._own.get(partition)
            if known is None:
                continue
            self._lag[partition] = max(0, look.end - look.position)
            since = None
            if look.position >= look.end and partition not in held:
                since = known.clear_from_us if known.clear_from_us is not None else look.at_us
            caught_up = known.caught_up_us if since is None else look.at_us
            self._own[partition] = replace(
                known, clear_from_us=since, caught_up_us=caught_up, checked_us=look.at_us
            )  # fmt: skip

    def stopped(self, held_us: Mapping[Partition, int], now_us: int) -> None:
        """Notes the contexts of which no more can be read now, each with the time of its oldest held event."""
        was = self._stopped
        self._stopped = {
            partition: was[partition] if was.get(partition, (None,))[0] == time_us else (time_us, now_us)
            for partition, time_us in held_us.items()
        }

    def own(
        self,
        unfinished_us: Mapping[Partition, int],
        again: Collection[Partition],
        anchor_topic: str,
        now_us: int,
        late_us: int,
        full: bool = False,
    ) -> dict[Partition, PartitionFlow]:
        """What is told. `unfinished_us`: per anchor partition the oldest unfinished anchor that holds context back;
        `again`: the contexts that are being read again; `full`: Redis takes no more of them."""
        out = {}
        for partition, flow in self._own.items():
            reached_us = self._reached_us.get(partition)
            if partition.topic == anchor_topic:
                flow = self._anchors_of(partition, flow, unfinished_us.get(partition), late_us)
            elif partition in self._stopped:
                held_us, since_us = self._stopped[partition]
                flow = replace(flow, frontier_us=held_us, indexed_us=reached_us, stopped_us=since_us)
            else:
                flow = replace(flow, frontier_us=reached_us, indexed_us=reached_us)
            full_here = full and partition.topic != anchor_topic
            out[partition] = replace(flow, told_us=now_us, rebuilt=partition not in again, full=full_here)
        return out

    def _anchors_of(
        self, partition: Partition, flow: PartitionFlow, oldest_us: int | None, late_us: int
    ) -> PartitionFlow:
        frontier_us = self.anchors_us(partition, oldest_us, late_us)
        return replace(flow, frontier_us=frontier_us, holds=oldest_us is not None or flow.clear_from_us is None)

    def anchors_us(self, partition: Partition, oldest_us: int | None, late_us: int) -> int | None:
        """How far an anchor partition is, as the others are told; None: nothing was read yet. With lag the next to be
        read may be as old as the last few that are not late, whatever one ahead says."""
        known = [] if oldest_us is None else [oldest_us]
        if self._own[partition].clear_from_us is None:
            known += [time_us for time_us in self._recent[partition] if time_us >= late_us]
        return min(known, default=self._reached_us.get(partition))

    @property
    def lag(self) -> Mapping[Partition, int]:
        """Records between what was read and the log's end, per partition."""
        return self._lag
