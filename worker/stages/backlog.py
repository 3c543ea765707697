"""Outcomes -> the next transactions', in order: counted and weighed by input topic as they come and go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from worker.records import Outcome, Outgoing, Partition, Record


@dataclass(frozen=True, slots=True)
class Load:
    """How many, and how large together."""

    count: int = 0
    bytes: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(self.count + other.count, self.bytes + other.bytes)


class Backlog:
    """What Kafka has not taken yet. Not thread-safe: the committer guards it."""

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []
        self._loads: defaultdict[str, Load] = defaultdict(Load)

    def __len__(self) -> int:
        return len(self._outcomes)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self._outcomes)

    def first(self, most: int) -> list[Outcome]:
        """Those that came first."""
        return self._outcomes[:most]

    def load(self, topic: str) -> Load:
        """Of the records of one input topic; looks at none of them."""
        return self._loads.get(topic, Load())

    def extend(self, outcomes: Iterable[Outcome]) -> None:
        """Adds outcomes behind the others."""
        for outcome in outcomes:
            self._outcomes.append(outcome)
            self._weigh(outcome, 1)

    def keep(self, wanted: Callable[[Outcome], bool]) -> None:
        """Forgets all others."""
        self.replace(lambda outcome: outcome if wanted(outcome) else None)

    def replace(self, change: Callable[[Outcome], Outcome | None]) -> None:
        """Puts what `change` gives in an outcome's place; nothing for None."""
        left: list[Outcome] = []
        for outcome in self._outcomes:
            after = change(outcome)
            if after is not None:
                left.append(after)
            if after is not outcome:
                self._weigh(outcome, -1)
                if after is not None:
                    self._weigh(after, 1)
        self._outcomes = left

    def _weigh(self, outcome: Outcome, sign: int) -> None:
        topic = outcome.record.topic
        self._loads[topic] += Load(sign, sign * _bytes(outcome))


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
