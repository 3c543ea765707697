"""A BodyReader in memory: the records of a FakeSource's logs, as late and in the order that a test says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from tests.fakes.source import FakeSource
from worker.errors import Poison
from worker.records import Partition, Record, Reference


class FakeBodyReader:
    """worker.ports.Bodies without Kafka.

    Attributes:
        gone: what retention has taken.
        rotten: what the broker's disk has spoilt.
        slow: partitions of which nothing comes.
        asked: every place that was ever wanted, in order.
        pick: of the places that are wanted, those that arrive now and in which order; by default all.
    """

    def __init__(self, source: FakeSource) -> None:
        self._source = source
        self._wanted: dict[Reference, None] = {}
        self.gone: set[tuple[Partition, int]] = set()
        self.rotten: set[tuple[Partition, int]] = set()
        self.slow: Collection[Partition] = set()
        self.asked: list[Reference] = []
        self.pick: Callable[[list[Reference]], list[Reference]] = lambda wanted: wanted

    @property
    def wanted(self) -> list[Reference]:
        """What is awaited."""
        return list(self._wanted)

    def want(self, references: Iterable[Reference]) -> None:
        """See Bodies.want."""
        for one in references:
            self._wanted[one] = None
            self.asked.append(one)

    def unwant(self, references: Iterable[Reference]) -> None:
        """See Bodies.unwant."""
        for one in references:
            self._wanted.pop(one, None)

    def arrived(self) -> Sequence[tuple[Reference, Record | Poison | None]]:
        """See Bodies.arrived."""
        come = self.pick([one for one in self._wanted if one.partition not in self.slow])
        for one in come:
            del self._wanted[one]
        return [(one, self._at(one)) for one in come]

    def _at(self, place: Reference) -> Record | Poison | None:
        log = self._source.logs[place.partition]
        if (place.partition, place.offset) in self.rotten:
            return Poison("DECODE", "unreadable", "the batch cannot be unpacked")
        lost = (place.partition, place.offset) in self.gone or place.offset >= len(log)
        return None if lost else log[place.offset]
