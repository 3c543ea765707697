"""Context events that were read -> those that may be indexed now (DESIGN 3: flow in event time).

A context partition is held `horizon` ahead of the slowest anchor partition, so that a backlog's frames are not trimmed
before their texts come; Flink knows it as watermark alignment. The partition is held, not one source: events that later
ones of their partition have overtaken come from a clock that is ahead of its neighbours', and do not make it pause.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from worker.records import Event, Partition

# Held events of one partition after which it pauses: about a poll's worth. As many overtaken ones are kept.
MOST_HELD = 300
# Before all anchor partitions are known nothing may be indexed.
NOTHING_YET = -1


@dataclass(slots=True)
class _Held:
    """Of one partition, in the order of reading. `passed`: behind the last offset that was indexed; `bytes` of all."""

    events: list[Event] = field(default_factory=list)
    passed: int = 0
    bytes: int = 0
    ahead: int = 0
    ahead_bytes: int = 0

    def add(self, event: Event) -> None:
        self.events.append(event)
        self._weigh(event)

    def keep(self, events: list[Event]) -> None:
        self.events, self.bytes, self.ahead, self.ahead_bytes = events, 0, 0, 0
        for event in events:
            self._weigh(event)

    def _weigh(self, event: Event) -> None:
        size = _size(event)
        self.bytes += size
        if event.record.offset >= self.passed:
            self.ahead += 1
            self.ahead_bytes += size


class HoldBack:
    """Context events that were read and are not in Redis yet."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: of the bodies of all partitions; of each its share may be ahead, and as much overtaken."""
        self._most_bytes = most_bytes
        self._held: dict[Partition, _Held] = {}

    @property
    def bytes(self) -> int:
        """Of all bodies that are held."""
        return sum(held.bytes for held in self._held.values())

    def add(self, event: Event) -> None:
        """Takes an event that was read."""
        self._held.setdefault(event.record.lies_on, _Held()).add(event)

    def allowed(self, horizons_us: Mapping[str, int], slowest_us: int | None) -> list[Event]:
        """The events that may be indexed now; they stay until `remove`."""
        if slowest_us == NOTHING_YET:
            return []
        found: list[Event] = []
        for held in self._held.values():
            early: list[Event] = []
            for event in held.events:
                within = slowest_us is None or event.time_us <= slowest_us + horizons_us[event.stream]
                (found if within else early).append(event)
            found += self._overflow([event for event in early if event.record.offset < held.passed])
        return found

    def remove(self, indexed: Collection[Event]) -> None:
        """These are in Redis."""
        gone: dict[Partition, set[int]] = {}
        for event in indexed:
            gone.setdefault(event.record.lies_on, set()).add(event.record.offset)
        for partition, offsets in gone.items():
            held = self._held[partition]
            held.passed = max(held.passed, max(offsets) + 1)
            held.keep([event for event in held.events if event.record.offset not in offsets])

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forgets the events of partitions that are no longer ours."""
        for partition in partitions:
            self._held.pop(partition, None)

    def first_offset(self, partition: Partition) -> int | None:
        """The lowest offset of a held event."""
        held = self._held.get(partition)
        return min((event.record.offset for event in held.events), default=None) if held else None

    @property
    def partitions(self) -> set[Partition]:
        """The partitions with held events."""
        return {partition for partition, held in self._held.items() if held.events}

    def full(self) -> set[Partition]:
        """The partitions that must pause."""
        return {partition for partition, held in self._held.items() if self._is_full(held)}

    def stopped(self, lag: Mapping[Partition, int]) -> dict[Partition, int]:
        """The partitions of which no more can be read now, each with the time of its oldest held event."""
        return {
            partition: min(event.time_us for event in held.events)
            for partition, held in self._held.items()
            if held.events and (self._is_full(held) or lag.get(partition) == 0)
        }

    def _is_full(self, held: _Held) -> bool:
        return self._too_much(held.ahead, held.ahead_bytes)

    def _too_much(self, count: int, size: int) -> bool:
        return count >= MOST_HELD or (count > 0 and size >= self._most_bytes // (2 * len(self._held)))

    def _overflow(self, overtaken: Sequence[Event]) -> Sequence[Event]:
        """The first of these, so many that what is left is not too much. Indexed early they can only push out events of
        their own key."""
        number, size = 0, sum(map(_size, overtaken))
        while number < len(overtaken) and self._too_much(len(overtaken) - number, size):
            size -= _size(overtaken[number])
            number += 1
        return overtaken[:number]


def _size(event: Event) -> int:
    return event.record.value_bytes
