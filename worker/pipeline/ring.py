"""Large bodies that this worker has read, as long as there is room; the others come from Kafka by their place.

One bound covers the ring, the events that are held back and what anchors hold or await: what is pinned leaves less to
the ring. What Kafka holds never changes, so a body may stay when its partition has gone to another worker.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence

from worker.errors import Poison
from worker.ports import Bodies, Observer
from worker.records import Event, Partition, Record, Reference

# Of the bound, for what was read and may still be wanted: with more, a poll and what anchors await would not fit too.
FULL = 1 / 2

_Place = tuple[str, int, int]  # topic, partition, offset
Mask = Callable[[Record], Record | Poison]


class Ring:
    """Finds bodies by reference. Used by the loop alone.

    Attributes:
        held_bytes: of the events that are held back.
        awaited_bytes: of what decided anchors hold or await.
        ring_bytes: of what may go at any time.
    """

    def __init__(
        self, most_bytes: int, reader: Bodies, observer: Observer, inline_bytes: int, mask: Mask | None = None
    ) -> None:
        """Bodies of at most `inline_bytes` lie in Redis and are not kept; what comes from Kafka goes through `mask`, as
        it did when it was read first."""
        self._mask = mask
        self.most_bytes, self._reader, self._observer, self._inline = most_bytes, reader, observer, inline_bytes
        self._ring: OrderedDict[_Place, tuple[Record, int]] = OrderedDict()  # and its event time, us
        self.ring_bytes = self.held_bytes = self.awaited_bytes = self._lent = 0

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def bytes(self) -> int:
        """All that the bound covers."""
        return self.ring_bytes + self.held_bytes + self.awaited_bytes + self._lent

    def lend(self, size: int) -> None:
        """What others have of the bound; what lies in the ring goes for it."""
        self._lent = max(0, size)
        self.make_room()

    def keep(self, events: Iterable[Event], held_bytes: int) -> None:
        """These are the newest, and no longer held back; the oldest go for them."""
        self.held_bytes = held_bytes
        for event in events:
            self._put(event.record, event.time_us)
        self.make_room()

    def _put(self, record: Record, time_us: int) -> None:
        if record.is_small(self._inline):
            return
        place = (record.topic, record.partition, record.offset)
        if (before := self._ring.pop(place, None)) is not None:
            self.ring_bytes -= before[0].value_bytes
        self._ring[place] = record, time_us
        self.ring_bytes += record.value_bytes

    def make_room(self) -> None:
        """The oldest go, as far as more than the bound is there."""
        while self._ring and self.bytes > self.most_bytes:
            _, (oldest, _) = self._ring.popitem(last=False)
            self.ring_bytes -= oldest.value_bytes

    def pressed(self, slowest_us: int | None, before_us: int) -> bool:
        """True when the next to go is an event that may still be wanted: of those that have come, no anchor is before
        `slowest_us`, and none wants what lies further before it; None or less than 0: there is none, or not known."""
        if slowest_us is None or slowest_us < 0 or not self._ring:
            return False
        if self.ring_bytes + self.held_bytes < self.most_bytes * FULL:
            return False
        return next(iter(self._ring.values()))[1] >= slowest_us - before_us

    def find(self, reference: Reference) -> Record | None:
        """The record, if it is still here."""
        partition = reference.partition
        found = self._ring.get((partition.topic, partition.number, reference.offset))
        if found is not None:
            self._observer.count("bodies_total", **{"from": "ring"})
            return found[0]
        return None

    def want(self, references: Iterable[Reference]) -> None:
        """These are to be read from Kafka."""
        self._reader.want(references)

    def unwant(self, references: Iterable[Reference]) -> None:
        """Nobody waits for these any more."""
        self._reader.unwant(references)

    def arrived(self) -> Sequence[tuple[Reference, Record | Poison | None]]:
        """What has come from Kafka; None where it has it no longer. A topic that was made again has another there."""
        came = [(reference, self._masked(_same(reference, found))) for reference, found in self._reader.arrived()]
        for _, found in came:
            self._observer.count("bodies_total", **{"from": "expired" if found is None else "kafka"})
            if isinstance(found, Record):
                self._put(found, 0)
        return came

    def _masked(self, found: Record | Poison | None) -> Record | Poison | None:
        return self._mask(found) if self._mask is not None and isinstance(found, Record) else found

    @property
    def slow(self) -> Collection[Partition]:
        """The partitions of which nothing comes at present."""
        return self._reader.slow


def _same(reference: Reference, found: Record | Poison | None) -> Record | Poison | None:
    return None if isinstance(found, Record) and len(found.value or b"") != reference.size else found
