"""How far each partition is -> who may read on (DESIGN 3: flow in event time; Flink knows it as watermark alignment).

A context partition is held `horizon` ahead of the slowest anchor partition with lag or waiting anchors, so that a
backlog's frames are not trimmed before their texts come. A partition that is caught up holds nobody back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from worker.records import Event, Flow, Partition, PartitionFlow

# Held events of one partition after which it pauses: about a poll's worth, so that one skewed clock stops nobody else.
MOST_HELD = 300
# Before all anchor partitions are known nothing may be indexed.
NOTHING_YET = -1


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
        self._lag: dict[Partition, int] = {}

    def open(self, partition: Partition) -> None:
        """A lease begins: nothing is known yet."""
        self._own[partition] = PartitionFlow(None, None, None)

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._own

    def close(self, partitions: Iterable[Partition]) -> None:
        """Leases end."""
        for partition in partitions:
            self._own.pop(partition, None)
            self._lag.pop(partition, None)

    def frontier_us(self, partition: Partition) -> int | None:
        """The latest event time of what was read (anchor) or indexed (context); None: nothing yet."""
        known = self._own.get(partition)
        return None if known is None else known.frontier_us

    def reached(self, partition: Partition, time_us: int) -> None:
        """An event of this time was read (anchor) or indexed (context)."""
        known = self._own.get(partition)
        if known is not None and (known.frontier_us is None or time_us > known.frontier_us):
            self._own[partition] = replace(known, frontier_us=time_us)

    def checked(self, found: Mapping[Partition, Checked], held: Collection[Partition]) -> None:
        """Notes which partitions have been read past where they ended; one with held events has not."""
        for partition, look in found.items():
            known = self._own.get(partition)
            if known is None:
                continue
            self._lag[partition] = max(0, look.end - look.position)
            if look.position >= look.end and partition not in held:
                since = known.clear_from_us if known.clear_from_us is not None else look.at_us
                self._own[partition] = replace(known, clear_from_us=since, caught_up_us=look.at_us)
            else:
                self._own[partition] = replace(known, clear_from_us=None)

    def own(
        self,
        unfinished_us: Mapping[Partition, int],
        held_us: Mapping[Partition, int],
        hidden: Collection[Partition],
        anchor_topic: str,
    ) -> dict[Partition, PartitionFlow]:
        """What is told. An anchor partition's frontier is its oldest unfinished anchor; read to its end and all
        finished it has none, and holds nobody back. The frontier of a context of which no more can be read, since
        it is paused or read to its end, is its oldest held event."""
        out = {}
        for partition, flow in self._own.items():
            if partition in hidden:
                continue
            if partition in unfinished_us:
                flow = replace(flow, frontier_us=unfinished_us[partition])
            elif partition in held_us:
                flow = replace(flow, frontier_us=held_us[partition])
            elif partition.topic == anchor_topic and flow.clear_from_us is not None:
                flow = replace(flow, frontier_us=None)
            out[partition] = flow
        return out

    @property
    def lag(self) -> Mapping[Partition, int]:
        """Records between what was read and the log's end, per partition."""
        return self._lag


def slowest_anchor_us(flow: Flow, anchors: Collection[Partition]) -> int | None:
    """Event time of the slowest anchor partition; None when none holds back; NOTHING_YET while one is unknown."""
    slowest: int | None = None
    for partition in anchors:
        known = flow.partitions.get(partition)
        if known is None or (known.clear_from_us is None and known.frontier_us is None):
            return NOTHING_YET
        if known.frontier_us is not None:
            slowest = known.frontier_us if slowest is None else min(slowest, known.frontier_us)
    return slowest


class HoldBack:
    """Context events that were read and are not in Redis yet. Later ones pass an event that is held."""

    def __init__(self) -> None:
        self._events: dict[Partition, list[Event]] = {}

    def add(self, event: Event) -> None:
        """Takes an event that was read."""
        self._events.setdefault(Partition(event.record.topic, event.record.partition), []).append(event)

    def allowed(self, horizons_us: Mapping[str, int], slowest_us: int | None) -> list[Event]:
        """The events that may be indexed now; they stay until `remove`."""
        if slowest_us == NOTHING_YET:
            return []
        every = (event for events in self._events.values() for event in events)
        if slowest_us is None:
            return list(every)
        return [event for event in every if event.time_us <= slowest_us + horizons_us[event.stream]]

    def remove(self, indexed: Collection[Event]) -> None:
        """These are in Redis."""
        gone = {(event.record.topic, event.record.partition, event.record.offset) for event in indexed}
        for partition, events in list(self._events.items()):
            kept = [e for e in events if (e.record.topic, e.record.partition, e.record.offset) not in gone]
            self._events[partition] = kept
            if not kept:
                del self._events[partition]

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forgets the events of partitions that are no longer ours."""
        for partition in partitions:
            self._events.pop(partition, None)

    def first_offset(self, partition: Partition) -> int | None:
        """The lowest offset of a held event."""
        return min((event.record.offset for event in self._events.get(partition, ())), default=None)

    @property
    def partitions(self) -> set[Partition]:
        """The partitions with held events."""
        return set(self._events)

    def full(self) -> set[Partition]:
        """The partitions that must pause."""
        return {partition for partition, events in self._events.items() if len(events) >= MOST_HELD}

    def stopped(self, lag: Mapping[Partition, int]) -> dict[Partition, int]:
        """The partitions of which no more can be read now, each with the time of its oldest held event."""
        return {
            partition: min(event.time_us for event in events)
            for partition, events in self._events.items()
            if len(events) >= MOST_HELD or lag.get(partition) == 0
        }
