"""Topics -> Gathered: the names, times and places of all events, without their bodies.

Two passes: what is matched is known only when all streams were read far enough, and frames held until then would fill
the memory. A name takes about 330 bytes, however large its frame is; the matched bodies are read after.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.errors import Poison
from worker.recording.told import Told
from worker.records import Candidate, Event, MatchRule, Partition, Record
from worker.stages.publish import result_id
from worker.stages.rule import Choice, choose_sorted, in_order
from worker.stages.validate import Validator


class Place(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Anchor:
    """An anchor event without its body; `result` names its result: its id, and the anchor's partition and offset."""

    key: str
    id: str
    time_us: int
    place: Place
    result: tuple[str, int, int]


@dataclass(slots=True)
class Line:
    """The events of one key in one stream: in order, each once, with the place it was first read from."""

    order: list[Candidate] = field(default_factory=list)
    places: dict[Candidate, Place] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Keeps an event, unless it is known."""
        candidate = Candidate(event.time_us, event.id)
        if candidate not in self.places:
            self.places[candidate] = _place(event.record)
            insort(self.order, candidate, key=in_order)


class Gathered:
    """All that was read so far."""

    def __init__(self, validator: Validator, rules: Mapping[str, MatchRule], anchor: str, told: Told) -> None:
        """`anchor`: its stream; `told`: takes the records of its topics, which are no streams."""
        self.validator, self.rules, self._anchor, self.told = validator, rules, anchor, told
        self._lines: dict[tuple[str, str], Line] = {}
        self._waiting: dict[Place, Anchor] = {}
        self.ready: list[Anchor] = []
        self.read: Counter[str] = Counter()
        self.refused = 0

    def add(self, records: Sequence[Record]) -> None:
        """Takes what a poll brought."""
        for record in records:
            if (tell := self.told.topics.get(record.topic)) is not None:
                self._tell(tell, record)
                continue
            try:
                event = self.validator.read(record)
            except Poison:
                self.refused += 1
                continue
            self.read[event.stream] += 1
            if event.stream == self._anchor:
                anchor = _anchor(event)
                self._waiting[anchor.place] = anchor
            else:
                self._lines.setdefault((event.stream, event.key), Line()).add(event)

    def _tell(self, tell: Callable[[Record], None], record: Record) -> None:
        try:
            tell(record)
        except (ValueError, KeyError, TypeError):
            self.refused += 1

    def settle(self) -> None:
        """Moves to `ready` the anchors that nothing still to come can change: all matches complete, the label there."""
        for place, anchor in list(self._waiting.items()):
            labelled = not self.told.gives_labels or self.told.label(anchor) is not None
            if labelled and all(choice.complete for choice in self.choices(anchor).values()):
                self.ready.append(self._waiting.pop(place))

    def end(self) -> int:
        """Moves the others to `ready` too, matched to what was read; how many those are."""
        left = list(self._waiting.values())
        self._waiting.clear()
        self.ready += left
        return sum(not all(choice.complete for choice in self.choices(anchor).values()) for anchor in left)

    def choices(self, anchor: Anchor) -> dict[str, Choice]:
        """Per context stream what is matched among all that was read."""
        return {
            name: choose_sorted(rule, anchor.time_us, self.line(name, anchor.key).order)
            for name, rule in self.rules.items()
        }

    def line(self, stream: str, key: str) -> Line:
        """The events of a key; of an unknown one none."""
        return self._lines.get((stream, key), Line())


def _anchor(event: Event) -> Anchor:
    record = event.record
    result = (result_id(event.source, event.id), record.partition, record.offset)
    return Anchor(event.key, event.id, event.time_us, _place(record), result)


def _place(record: Record) -> Place:
    return Place(record.topic, record.partition, record.offset)


def partition_of(place: Place) -> Partition:
    """The partition of a place."""
    return Partition(place.topic, place.partition)
