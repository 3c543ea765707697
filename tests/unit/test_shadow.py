"""A shadow model is asked the same; whatever it does, the model that serves answers as if it were alone."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import write_tiny_model
from tests.unit.shadowed import LABELS, Heard, Saying, Scene
from worker.errors import ConfigError, Poison
from worker.model import shadow as module
from worker.model.runtime import ModelRuntime
from worker.model.shadow import MOST_BATCHES, MOST_FAILED
from worker.model.sums import write_sums
from worker.records import Verdict

Start = Callable[..., Scene]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def start(heard: Heard) -> Iterator[Start]:
    made: list[Scene] = []

    def begin(model: Any, **options: Any) -> Scene:
        made.append(Scene(lambda: model, heard, **options))
        heard.until(lambda: bool(heard.lines))
        return made[-1]

    yield begin
    for one in made:
        one.shadow.close(0.1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.lists(st.sampled_from(LABELS), min_size=40, max_size=40))
def test_disagreements_are_those_that_an_oracle_counts(sizes: list[int], said: list[str]) -> None:
    """By pair of labels, each told with its anchor and both verdicts; both are named by their model."""
    heard, say = Heard(), said.__getitem__
    scene = Scene(lambda: Saying("other", say), heard)
    for size in sizes:
        scene.ask_and_wait(size)
    scene.shadow.close()
    pairs = [(number, LABELS[number % 3], say(number)) for number in range(scene.next)]
    different = [one for one in pairs if one[1] != one[2]]
    assert heard.counts == Counter((a, b) for _, a, b in different) + Counter(
        {("disagreed",): len(different), ("agreed",): len(pairs) - len(different)}
    )
    assert [(int(anchor.id), one.label, other.label) for anchor, one, other in heard.told] == different
    assert {(one.model or {})["name"] for _, one, _ in heard.told} <= {"served"}
    assert {(other.model or {})["name"] for _, _, other in heard.told} <= {"other"}


def raising(error: BaseException) -> Callable[[int], str]:
    def say(_: int) -> str:
        raise error

    return say


class Wrong(Saying):
    """One verdict too many."""

    def infer(self, batch: Sequence[int]) -> list[Verdict]:
        """As told."""
        return super().infer([*batch, 0])


class NotFinite(Saying):
    """A score that is none."""

    def infer(self, batch: Sequence[int]) -> list[Verdict]:
        """As told."""
        return [Verdict("a", 1.0, {"a": 1.0, "b": math.nan}) for _ in batch]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Saying("other", raising(RuntimeError("no kernel"))), "RuntimeError: no kernel"),
        (Saying("other", raising(MemoryError())), "MemoryError"),
        (Saying("other", raising(SystemExit(3))), "SystemExit: 3"),
        (Wrong("other", lambda _: "a"), "2 verdicts for 1 items"),
        (NotFinite("other", lambda _: "a"), "not finite"),
        (object(), "AttributeError"),
    ],
)
def test_one_that_fails_on_everything_is_off(heard: Heard, start: Start, model: Any, reason: str) -> None:
    """After three batches; told once, with the reason; what comes then is not offered to it any more."""
    scene = start(model)
    if isinstance(model, Saying):
        for _ in range(MOST_FAILED):
            scene.ask_and_wait(3)
        assert heard.counts == {("failed",): 3 * MOST_FAILED}
    heard.until(lambda: bool(heard.named("shadow model is off")))
    scene.ask(3)
    scene.shadow._thread.join(10)
    assert not scene.shadow._thread.is_alive(), "it would keep the model in memory"
    (line,) = heard.named("shadow model is off")
    assert reason in line["reason"]
    assert heard.gauges == [("shadow_off", 1)]


def test_an_item_that_it_cannot_answer_costs_that_item(heard: Heard, start: Start) -> None:
    """The others of the batch are compared, and it stays."""
    refuses = Poison("MODEL", "not_finite", "not this one")
    scene = start(Saying("other", lambda n: LABELS[n % 3] if n % 4 else raising(refuses)(n)))
    for _ in range(2 * MOST_FAILED):
        scene.ask_and_wait(4)
    assert heard.counts == {("agreed",): 18, ("failed",): 6}
    assert not heard.named("shadow model is off")


def test_one_that_hangs_is_left_behind(heard: Heard, start: Start) -> None:
    """What it has no room for is dropped, and it is off after a while; when it comes back nobody listens."""
    go, stands = threading.Event(), threading.Event()

    def hang(number: int) -> str:
        stands.set()
        go.wait(10)
        return "a"

    scene = start(Saying("other", hang), hang_seconds=0.05)
    scene.ask()
    assert stands.wait(10)
    while not heard.named("shadow model is off"):
        scene.ask()
    (line,) = heard.named("shadow model is off")
    assert line["reason"] == "no answer for 0.05 s"
    assert heard.counts == {("dropped",): scene.next - 1 - MOST_BATCHES}
    scene.ask()
    go.set()
    scene.shadow.close()
    assert len(heard.counts) == 1
    assert not heard.told


def test_one_that_is_slow_misses_batches(heard: Heard, start: Start) -> None:
    """Each is either compared or counted as dropped."""
    turns = threading.Semaphore(0)

    def say(number: int) -> str:
        turns.acquire(timeout=10)
        return "a"

    scene = start(Saying("other", say))
    for _ in range(20):
        scene.ask()
    for _ in range(20):
        turns.release()
    heard.until(lambda: heard.items() == 20)
    assert heard.counts[("dropped",)] >= 20 - MOST_BATCHES - 1
    assert heard.counts[("agreed",)] + heard.counts[("disagreed",)] >= MOST_BATCHES
    assert not heard.named("shadow model is off")


def test_what_waits_for_it_is_bounded_in_bytes(heard: Heard, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is larger is dropped; a small one after it is not."""
    monkeypatch.setattr(module, "MOST_BYTES", 2_000)
    scene = start(Saying("other", lambda n: LABELS[n % 3]))
    scene.ask_and_wait(30)
    scene.ask_and_wait(1)
    assert heard.counts == {("dropped",): 30, ("agreed",): 1}


@pytest.mark.parametrize("error", [ConfigError("no config.json there"), SystemExit(1)])
def test_one_that_cannot_be_loaded(heard: Heard, error: BaseException) -> None:
    """Is off from the start."""

    def load() -> Any:
        raise error

    scene = Scene(load, heard)
    heard.until(lambda: bool(heard.lines))
    scene.ask()
    assert str(error) in heard.named("shadow model is off")[0]["reason"]
    scene.shadow.close()


def test_while_it_loads_the_other_answers(heard: Heard) -> None:
    """Also one that hangs for good: it stops neither verdicts nor the end."""
    go = threading.Event()
    scene = Scene(lambda: go.wait(10), heard)
    for _ in range(5):
        scene.ask()
    scene.shadow.close(0.01)
    assert heard.counts == {("dropped",): 5 - MOST_BATCHES}
    go.set()


@pytest.mark.parametrize(("prepares", "times"), [("alike", 0), ("otherwise", 1)])
def test_what_was_prepared_alike_is_not_prepared_again(heard: Heard, start: Start, prepares: str, times: int) -> None:
    """Else it prepares the anchor itself."""
    model = Saying("other", lambda n: LABELS[n % 3], prepares)
    start(model).ask_and_wait(3)
    assert model.prepared == [0, 1, 2] * times
    assert heard.counts == {("agreed",): 3}


@pytest.mark.parametrize(("share", "asked"), [(1.0, 20), (0.5, 10), (0.25, 5), (0.05, 1)])
def test_a_share_of_the_batches(heard: Heard, start: Start, share: float, asked: int) -> None:
    """Spread evenly; the others are not counted."""
    scene = start(Saying("other", lambda n: LABELS[n % 3]), share=share)
    for number in range(1, 21):
        scene.ask()
        heard.until(lambda n=number: heard.items() >= int(n * share + 1e-9))  # type: ignore[misc]
    assert heard.counts == {("agreed",): asked}


def test_a_topic_that_does_not_take_it(heard: Heard, start: Start) -> None:
    """Is told once until it does again; all are counted."""
    fails = iter([True, True, False, True])

    def differ(*_: Any) -> None:
        if next(fails):
            raise ConnectionError("no broker")

    scene = start(Saying("other", lambda n: "c" if n % 3 != 2 else "a"), differ=differ)
    for _ in range(4):
        scene.ask_and_wait()
    assert heard.counts[("disagreed",)] == 4
    assert [line["reason"] for line in heard.named("a disagreement was not published")] == [
        "ConnectionError: no broker"
    ] * 2


def test_who_prepares_alike(tmp_path: Path) -> None:
    """Models of the same sizes and words do; of fewer tokens, or of other streams, not."""

    def runtime(name: str, anchor: str = "texts", **changes: Any) -> ModelRuntime:
        folder = write_tiny_model(tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        write_sums(folder)
        kinds = {anchor: "text", "frames": "image"}
        return ModelRuntime(path=str(folder), device="cpu", precision="auto", anchor=anchor, modalities=kinds)

    first = runtime("one").prepares
    assert runtime("two").prepares == first
    assert runtime("three", max_tokens=16).prepares != first
    assert runtime("four", anchor="calls").prepares != first
