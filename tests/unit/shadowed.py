"""A scene for a shadow model: a model that serves beside it, and one that hears what is told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.unit.test_batch import item
from worker.model.models import Models
from worker.model.shadow import Shadow
from worker.records import Event, Verdict

LABELS = "abc"


class Saying:
    """A model that says the label that a function gives for the anchor's number."""

    lanes, drift, labels = 1, None, tuple(LABELS)

    def __init__(self, name: str, say: Callable[[int], str], prepares: str = "alike") -> None:
        self.info: Mapping[str, str] = {"name": name, "version": "1", "device": "cpu", "precision": "fp32"}
        self._say, self.prepares = say, prepares
        self.prepared: list[int] = []

    def prepare(self, aligned: Any, begins: Any = None) -> int:
        """The anchor's number."""
        self.prepared.append(int(aligned.anchor.id))
        return int(aligned.anchor.id)

    def infer(self, batch: Sequence[int]) -> list[Verdict]:
        """What it says of each."""
        return [Verdict(label, 1.0, {label: 1.0}) for label in map(self._say, batch)]


class Heard:
    """A log and an observer; `changed` wakes at each."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.gauges: list[tuple[str, float]] = []
        self.told: list[tuple[Event, Verdict, Verdict]] = []
        self.changed = threading.Condition()

    def info(self, event: str, **fields: Any) -> None:
        """Keeps it."""
        with self.changed:
            self.lines.append((event, fields))
            self.changed.notify_all()

    warning = error = info

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Keeps it."""
        with self.changed:
            self.counts[tuple(labels.values())] += int(amount)
            self.changed.notify_all()

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Keeps it."""
        self.gauges.append((name, value))

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """Nothing."""

    def differ(self, *said: Any) -> None:
        """Keeps it."""
        self.told.append(said)

    def until(self, done: Callable[[], bool]) -> None:
        """Waits."""
        with self.changed:
            assert self.changed.wait_for(done, 10), (self.lines, self.counts)

    def items(self) -> int:
        """All that were offered and have come to something."""
        return sum(number for labels, number in self.counts.items() if len(labels) == 1)

    def named(self, event: str) -> list[dict[str, Any]]:
        """The lines of this name."""
        return [fields for name, fields in self.lines if name == event]


class Scene:
    """A model that serves, and a shadow."""

    def __init__(self, load: Callable[[], Any], heard: Heard, **options: Any) -> None:
        self.heard, self.next = heard, 0
        self.models = Models(Saying("served", lambda n: LABELS[n % 3]))
        self.shadow = Shadow(load, options.pop("differ", heard.differ), heard, heard, **options)
        self.models.heard = self.shadow.offer

    def ask(self, size: int = 1) -> list[str]:
        """The labels of the next batch, as they would be without a shadow."""
        numbers = range(self.next, self.next + size)
        self.next += size
        labels = [one.label for one in self.models.infer([self.prepared(number) for number in numbers])]
        assert labels == [LABELS[number % 3] for number in numbers]
        return labels

    def prepared(self, number: int) -> Any:
        """An item."""
        return self.models.prepare(item(number, b"x" * 100), lambda *_: None)

    def ask_and_wait(self, size: int = 1) -> None:
        """Until that is counted."""
        self.ask(size)
        self.heard.until(lambda: self.heard.items() == self.next)
