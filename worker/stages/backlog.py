"""Outcomes -> the next transactions', in order: counted and weighed by input topic as they come and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import accumulate, takewhile

from worker.records import Outcome, Outgoing, Partition, Record, value


@value
class Load:
    """How many, and how large together."""

    count: int = 0
    bytes: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(self.count + other.count, self.bytes + other.bytes)

    def __sub__(self, other: Load) -> Load:
        return Load(self.count - other.count, self.bytes - other.bytes)

    def __contains__(self, other: Load) -> bool:
        """Whether there is room for it."""
        return other.count <= self.count and other.bytes <= self.bytes


class Backlog:
    """What Kafka has not taken yet. Not thread-safe: the committer guards it."""

    def __init__(self) -> None:
        self._outcomes: list[tuple[Outcome, int]] = []  # each with its bytes
        self._counts: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._outcomes)

    def __iter__(self) -> Iterator[Outcome]:
        return (outcome for outcome, _ in self._outcomes)

    def first(self, most: int, most_bytes: int) -> list[Outcome]:
        """Those that came first: one, or as many as come to no more than this."""
        sizes = accumulate(size for _, size in self._outcomes[:most])
        number = sum(1 for _ in takewhile(lambda size: size <= most_bytes, sizes))
        return [outcome for outcome, _ in self._outcomes[: max(1, number)]]

    def load(self, topic: str) -> Load:
        """Of the records of one input topic; looks at none of them."""
        return Load(self._counts[topic], self._bytes[topic])

    def load_beside(self, topic: str) -> Load:
        """Of the records of all other input topics."""
        every = Load(self._counts.total(), self._bytes.total())
        return every - self.load(topic)

    def extend(self, outcomes: Iterable[Outcome]) -> None:
        """Adds outcomes behind the others."""
        for outcome in outcomes:
            self._outcomes.append((outcome, _bytes(outcome)))
            self._weigh(*self._outcomes[-1], 1)

    def keep(self, wanted: Callable[[Outcome], bool]) -> None:
        """Forgets all others."""
        self.replace(lambda outcome: outcome if wanted(outcome) else None)

    def replace(self, change: Callable[[Outcome], Outcome | None]) -> None:
        """Puts what `change` gives in an outcome's place; nothing for None."""
        before, self._outcomes = self._outcomes, []
        for outcome, size in before:
            after = change(outcome)
            if after is outcome:
                self._outcomes.append((outcome, size))
                continue
            self._weigh(outcome, size, -1)
            if after is not None:
                self.extend((after,))

    def _weigh(self, outcome: Outcome, size: int, sign: int) -> None:
        self._counts[outcome.record.topic] += sign
        self._bytes[outcome.record.topic] += sign * size


def offsets_of(outcomes: Iterable[Outcome]) -> dict[Partition, set[int]]:
    """The offsets of their records, by partition."""
    found: dict[Partition, set[int]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.record.lies_on, set()).add(outcome.record.offset)
    return found


def places_of(outcomes: Iterable[Outcome], numbers: Collection[int]) -> dict[int, set[int]]:
    """Of records that were counted through all outcomes: by an outcome's `id` the places among its own."""
    places = ((outcome, place) for outcome in outcomes for place in range(len(outcome.outgoing)))
    found: dict[int, set[int]] = {}
    for number, (outcome, place) in enumerate(places):
        if number in numbers:
            found.setdefault(id(outcome), set()).add(place)
    return found


def _bytes(outcome: Outcome) -> int:
    """What it keeps in memory, each body once: a dead letter's is the record's own."""
    kept: list[Record | Outgoing] = [outcome.record, *outcome.outgoing, *(one.record for one in outcome.rejected)]
    parts = [(one.key, one.value, *(value for _, value in one.headers)) for one in kept]
    return sum({id(part): len(part) for each in parts for part in each if part is not None}.values())
