"""Another model is taken over between two batches, or refused with one line; no item meets a model that is not its."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_batch import item
from worker.errors import ConfigError, Poison
from worker.model.drift import Drift, Quantity, Reference
from worker.model.heads import Head
from worker.model.models import Models
from worker.model.reload import Reloader, state_of
from worker.model.sums import Sums
from worker.records import Aligned, Verdict
from worker.rules.judge import Rules, Written

ALARMS = Head("alarms", "labels", ("water", "smoke"), thresholds=(0.5, 0.5))


class Versioned:
    """A model that answers what it prepared itself."""

    lanes = 1
    drift: Drift | None = None
    sums: Sums | None = None

    def __init__(
        self, version: str, labels: Sequence[str] = ("a", "b"), broken: Exception | None = None,
        heads: Sequence[Head] = (),
    ) -> None:  # fmt: skip
        self.labels, self.heads, self._broken = labels, heads, broken
        self.prepares = version
        self.info: Mapping[str, str] = {"name": "m", "version": version, "device": "cpu", "precision": "fp32"}

    def prepare(self, aligned: Aligned, begins: Any = None) -> tuple[str, str]:
        """With its own mark."""
        return self.info["version"], aligned.anchor.id

    def infer(self, batch: Sequence[tuple[str, str]]) -> list[Verdict]:
        """Raises what it is told to raise."""
        if self._broken is not None:
            raise self._broken
        assert {version for version, _ in batch} == {self.info["version"]}
        return [Verdict(name, 1.0, {name: 1.0}) for _, name in batch]


class Told:
    """A log and an observer; `heard` wakes at each line."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.counts: list[str] = []
        self.opened: list[str] = []
        self.heard = threading.Condition()

    def info(self, event: str, **fields: Any) -> None:
        """Keeps it."""
        with self.heard:
            self.lines.append((event, fields))
            self.heard.notify_all()

    warning = error = info

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Keeps the outcome."""
        self.counts.append(labels["outcome"])

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Nothing."""

    observe = gauge

    def wait(self, event: str) -> dict[str, Any]:
        """The fields of the line, once it is there."""
        with self.heard:
            assert self.heard.wait_for(lambda: any(name == event for name, _ in self.lines), 10), self.lines
            return next(fields for name, fields in reversed(self.lines) if name == event)


Start = Callable[..., Reloader]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def start(told: Told, tmp_path: Path) -> Iterator[Start]:
    made: list[Reloader] = []

    def begin(models: Models, load: Callable[[], Any], **options: Any) -> Reloader:
        made.append(Reloader(models, load, lambda: tmp_path, told, told, told.opened.extend, max_batch=4, **options))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def asked(models: Models, numbers: Sequence[int]) -> list[Any]:
    return [models.prepare(item(number, b"ok"), lambda *_: None) for number in numbers]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_every_item_is_answered_by_the_model_that_prepared_it(versions: list[int]) -> None:
    """Whatever models a batch is from; Versioned itself refuses what another prepared."""
    models, ready = Models(Versioned("0")), []
    for number, version in enumerate(versions):
        models.take_over(Versioned(str(version)))
        ready += asked(models, [number])
    verdicts = models.infer(ready)
    assert [verdict.label for verdict in verdicts] == [str(number) for number in range(len(versions))]
    assert [verdict.model for verdict in verdicts] == [{"name": "m", "version": str(one)} for one in versions]


def test_one_that_answers_is_taken_over(start: Start, told: Told) -> None:
    """It was asked what the old one had answered, alone and in a full batch."""
    sizes: list[int] = []

    class Counting(Versioned):
        def infer(self, batch: Sequence[tuple[str, str]]) -> list[Verdict]:
            sizes.append(len(batch))
            return super().infer(batch)

    models = Models(Versioned("1"))
    models.infer(asked(models, [7]))
    start(models, lambda: Counting("2")).ask()
    assert told.wait("model taken over") == {"before": "1", **Versioned("2").info}
    assert models.info["version"] == "2"
    assert sizes == [1, 4]
    assert told.counts == ["taken_over"]


def failing() -> Any:
    raise ConfigError("model.path = 'x': no config.json there")


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (failing, "no config.json there"),
        (lambda: Versioned("2", broken=Poison("MODEL", "not_finite", "its scores are not finite")), "not finite"),
        (lambda: Versioned("2", broken=RuntimeError("no memory left")), "RuntimeError: no memory left"),
        (lambda: Versioned("2", labels=("a", "c")), "its labels are a, c, and were a, b"),
        (lambda: Versioned("2", heads=(ALARMS,)), "its heads are alarms (labels smoke/water), and were none"),
    ],
)
def test_one_that_does_not_fit_is_refused(start: Start, told: Told, load: Callable[[], Any], reason: str) -> None:
    """With the reason; the old one goes on, and the next that is asked for is looked at again."""
    models = Models(Versioned("1"))
    models.infer(asked(models, [7]))
    loads = iter((load, lambda: Versioned("3")))
    reloader = start(models, lambda: next(loads)())
    reloader.ask()
    assert reason in told.wait("model not taken over")["reason"]
    assert models.info["version"] == "1"
    reloader.ask()
    told.wait("model taken over")
    assert told.counts == ["refused", "taken_over"]


def test_other_labels_where_they_are_meant(start: Start, told: Told) -> None:
    """With allow_labels, and their series are opened; the same ones in another order are none."""
    models = Models(Versioned("1"))
    start(models, lambda: Versioned("2", labels=("b", "a"))).ask()
    told.wait("model taken over")
    start(models, lambda: Versioned("3", labels=("x", "y")), allow_labels=True).ask()
    with told.heard:
        assert told.heard.wait_for(lambda: models.info["version"] == "3", 10)
    assert told.opened == ["b", "a", "x", "y"]


def test_a_rule_that_needs_a_label_keeps_the_old_model(start: Start, told: Told) -> None:
    """Whatever allow_labels says; the sentence is the rule's."""
    models = Models(Versioned("1"))
    rules = Rules([Written("r", "true", "b", "because")], {}, lambda *_: None)
    start(models, lambda: Versioned("2", labels=("x", "y")), allow_labels=True, fits=rules.ensure_told).ask()
    line = told.wait("model not taken over")
    assert line["reason"].startswith("rule 1 'r': then: the model has no label 'b'; its labels are x, y")
    assert models.info["version"] == "1"


def test_a_rule_that_asks_a_head_keeps_the_old_model(start: Start, told: Told) -> None:
    """Where the new one has not that head, whatever allow_labels says."""
    models = Models(Versioned("1", heads=[Head("alarms", "labels", ("smoke",)), Head("room", "label", ("loft",))]))
    rules = Rules([Written("r", '"smoke" in heads["alarms"]["labels"]', "b", "because")], {}, lambda *_: None)
    rules.ensure_told(models.now)
    new = Versioned("2", heads=[Head("room", "label", ("loft",))])
    start(models, lambda: new, allow_labels=True, fits=rules.ensure_told).ask()
    line = told.wait("model not taken over")
    assert line["reason"] == "rule 1 'r': when: the model has no head 'alarms'; its heads are room"
    assert models.info["version"] == "1"


def test_the_trial_is_not_in_the_window_of_drift(start: Start, told: Told) -> None:
    """One anchor, asked over and over, would fill the new model's window."""
    window = Drift(Reference({"score": Quantity((0.5,), (100, 100, 0))}), ["score"], window=4, least=1)

    class Watched(Versioned):
        drift = window

        def infer(self, batch: Sequence[tuple[str, str]]) -> list[Verdict]:
            window.add(np.ones((len(batch), 1)))
            return super().infer(batch)

    models = Models(Versioned("1"))
    models.infer(asked(models, [7]))
    start(models, lambda: Watched("2")).ask()
    told.wait("model taken over")
    assert math.isnan(window.psi()["score"])
    models.infer(asked(models, [8]))
    assert not math.isnan(window.psi()["score"])


def test_the_same_again_is_no_other(start: Start, told: Told) -> None:
    """A signal without a new model changes nothing."""
    models = Models(first := Versioned("1"))
    start(models, lambda: Versioned("1")).ask()
    told.wait("model is the same")
    assert models.now is first


def test_the_same_weights_with_another_file_beside_them_are_another_model(start: Start, told: Told) -> None:
    """Such as words, temperatures, or what confidence is told from: the version is the weights' own."""
    other = Versioned("1")
    other.sums = Sums("b" * 64, signed=False)
    models = Models(first := Versioned("1"))
    first.sums = Sums("a" * 64, signed=False)
    start(models, lambda: other).ask()
    told.wait("model taken over")
    assert models.now is other


def test_while_one_loads_the_old_one_answers(start: Start, told: Told) -> None:
    """Also one that hangs for good: it stops neither verdicts nor the end."""
    models, loading, go = Models(Versioned("1")), threading.Event(), threading.Event()

    def load() -> Versioned:
        loading.set()
        go.wait(10)
        return Versioned("2")

    reloader = start(models, load)
    reloader.ask()
    assert loading.wait(10)
    assert models.infer(asked(models, [1]))[0].model == {"name": "m", "version": "1"}
    reloader.close(0.01)
    assert models.info["version"] == "1"
    go.set()


def test_a_folder_that_is_watched(start: Start, told: Told, tmp_path: Path) -> None:
    """What is in it is taken once it has stayed as it is for a look; a refused one is not asked for again."""
    models, weights = Models(Versioned("1")), tmp_path / "weights"
    weights.write_text("1")

    def load() -> Versioned:
        if (found := weights.read_text()) == "half":
            raise ConfigError("cut short")
        return Versioned(found)

    start(models, load, every_seconds=0.02)

    def put(content: str) -> None:
        (tmp_path.parent / "new").write_text(content)
        os.replace(tmp_path.parent / "new", weights)

    put("half")
    told.wait("model not taken over")
    put("2 and more")
    told.wait("model taken over")
    assert models.info["version"] == "2 and more"
    assert told.counts == ["refused", "taken_over"]


def test_a_folder_that_changed_while_the_worker_started(start: Start, told: Told, tmp_path: Path) -> None:
    """The first model was read before; what lies there now is taken."""
    (tmp_path / "weights").write_text("1")
    taken = state_of(lambda: tmp_path)
    (tmp_path / "weights").write_text("2 and more")
    models = Models(Versioned("1"))
    start(models, lambda: Versioned((tmp_path / "weights").read_text()), taken=taken, every_seconds=0.02)
    told.wait("model taken over")
    assert models.info["version"] == "2 and more"
