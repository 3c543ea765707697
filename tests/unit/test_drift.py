"""Drift: the index itself, the reference, what is measured of each input, and what a worker tells of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.unit.served import TOKENIZER, aligned, event, model_of, runtime_of
from worker.errors import ConfigError
from worker.model.config import FusionConfig
from worker.model.drift import ABSENT, Drift, Quantity, Reference, psi, watch
from worker.model.items import Item, collate
from worker.model.preprocess import NO_TOKEN
from worker.model.runtime import ModelRuntime
from worker.model.served import Served
from worker.model.summary import Summary
from worker.ops.metrics import PrometheusObserver
from worker.training.reference import reference_of

STREAMS = {"oven": "sensor", "calls": "text"}


def counts(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers)


def column(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values, float)[:, None]


def test_the_index_is_that_of_the_formula() -> None:
    """By hand, of a million: (0.5 - 0.2) ln(0.5 / 0.2) + (0.5 - 0.8) ln(0.5 / 0.8)."""
    told = psi(counts(500_000, 500_000), counts(200_000, 800_000))
    assert told == pytest.approx(0.3 * math.log(0.5 / 0.2) - 0.3 * math.log(0.5 / 0.8), abs=1e-4)
    assert told == pytest.approx(0.41589, abs=1e-4)


def test_equal_is_0_either_side_may_come_first_and_nothing_is_below_0() -> None:
    """Of drawn counts, some of them 0."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        one, other = rng.integers(0, 40, 6), rng.integers(0, 400, 6)
        one[0] = other[1] = 1
        assert psi(one, one) == 0.0
        assert psi(one, other) == pytest.approx(psi(other, one))
        assert psi(one, other) >= 0.0
    assert psi(counts(50, 0), counts(0, 50)) > 1


@pytest.mark.parametrize("n", [200, 2_000])
def test_chance_alone_is_taken_off(n: int) -> None:
    """Of one distribution the mean stays near 0 whatever the number drawn; without it 200 would tell 0.06."""
    rng, shares = np.random.default_rng(1), np.full(10, 0.1)
    drawn = [(rng.multinomial(800, shares), rng.multinomial(n, shares)) for _ in range(300)]
    told = np.array([psi(*one) for one in drawn])
    assert told.mean() < 0.02
    assert told.max() < 0.2


@pytest.mark.parametrize("value", [4.0, 6.0])
def test_a_value_that_never_changed_is_seen_to_change(value: float) -> None:
    """Whichever way it goes, and when it is no longer told."""
    one = Quantity.of(np.full(300, 5.0))
    reference = Reference({"x": one})
    for moved in (value, np.nan):
        drift = Drift(reference, ["x"])
        drift.add(column(np.full(300, moved)))
        assert drift.psi()["x"] > 1
    drift = Drift(reference, ["x"])
    drift.add(column(np.full(300, 5.0)))
    assert drift.psi() == {"x": 0.0}


def test_what_is_no_longer_told_is_none_of_the_low_values() -> None:
    """A reading that loses its low half to NaN has drifted."""
    values = np.arange(600.0)
    drift = Drift(Reference({"x": Quantity.of(values)}), ["x"])
    drift.add(column(np.where(values < 60, np.nan, values)))
    assert drift.psi()["x"] > 0.25


def test_a_reference_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """Edges, counts and names; what fewer than 100 samples have is not in it."""
    rng = np.random.default_rng(1)
    values = np.stack([rng.normal(size=400), rng.integers(0, 2, 400), np.full(400, np.nan), np.full(400, ABSENT)], 1)
    values[:99, 3] = 1.0
    made = Reference.of(["a", "b = ON", "c", "d"], values, {"b = ON": [0.5]})
    assert list(made.quantities) == ["a", "b = ON", "c"]
    assert made.quantities["a"].counts == (40,) * 10 + (0,)
    assert made.quantities["c"] == Quantity((), (0, 400))
    made.save(tmp_path, "abc")
    assert Reference.load(tmp_path, "abc") == made
    with pytest.raises(ConfigError, match=r"reference.json: was made with the weights abc, .* are def; .*not watched"):
        Reference.load(tmp_path, "def")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting"),
        ('{"score": {"edges": [0.5], "counts": [1, 2]}}', "score: edges must rise, and counts be two more"),
        ('{"score": {"edges": [0.7, 0.5], "counts": [1, 2, 3, 4]}}', "score: edges must rise"),
        ('{"score": {"edges": [0.5], "counts": [0, 0, 0]}}', "of samples"),
        ('{"score": {"edges": [0.5]}}', "counts"),
        ('[["score"]]', "has no attribute"),
    ],
)
def test_a_broken_reference_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    """It names the folder and the file."""
    (tmp_path / "reference.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"model.path = .*: reference.json: .*{said}"):
        Reference.load(tmp_path, "abc")


def test_a_reference_of_another_model_is_refused() -> None:
    """It names the quantity that is none of this one's."""
    with pytest.raises(ConfigError, match=r"reference.json: 'value/oven/heat' is none of this model's: score"):
        Drift(Reference({"value/oven/heat": Quantity((0.5,), (1, 1, 0))}), ["score"])


def test_what_is_measured_of_each_input() -> None:
    """The newest body of each item, nothing of one that it lacks; the same alone and in a batch."""
    tokenizer = TOKENIZER.backend_tokenizer
    unknown = tokenizer.token_to_id("[UNK]")
    config = FusionConfig(
        inputs=["image", "text", "sensor", "audio"], input_names=["road", "calls", "oven", "mic"], image_size=28,
        max_tokens=8, max_steps=3, channels=["heat", "door"], channel_words=[None, "OPEN"], mels=4, num_labels=3,
    )  # fmt: skip
    summary = Summary(config, tokenizer)
    bright = torch.full((3, 28, 28), 90, dtype=torch.uint8)
    bright[:, :, ::4] = 110
    ids = torch.tensor([5, unknown, 7, 8, *[NO_TOKEN] * 4])
    series = torch.tensor([[math.nan] * 2, [21.5, math.nan], [math.nan, math.nan]])
    sound = torch.full((4, 201), math.log(10.0))
    whole = Item(((torch.zeros(3, 28, 28, dtype=torch.uint8), bright), (ids,), (series,), (sound,)))
    items = [whole.only([1]), whole, Item(((), (), (), ()))]
    told = summary.of(collate(items, config))
    assert summary.names == [
        "score", "label", "familiar", "present/road", "brightness/road", "contrast/road", "present/calls",
        "tokens/calls", "unknown/calls", "present/oven", "value/oven/heat", "value/oven/door = OPEN", "present/mic",
        "loudness/mic",
    ]  # fmt: skip
    expected = [*[math.nan] * 3, 1, 100, 10, 1, 4, 0.25, 1, 21.5, math.nan, 1, 10]
    assert told[1] == pytest.approx(expected, nan_ok=True)
    assert np.array_equal(summary.of(collate([whole], config))[0], told[1], equal_nan=True)
    assert told[0, 3:].tolist() == [0, ABSENT, ABSENT, 1, 4, 0.25, 0, ABSENT, ABSENT, 0, ABSENT]
    assert [told[2, n] for n in (3, 6, 9, 12)] == [0, 0, 0, 0]


def served(reference: Reference | None) -> ModelRuntime:
    """A model of an oven and of calls."""
    model = model_of(inputs=["sensor", "text"], input_names=["oven", "calls"], channels=["heat"])
    return runtime_of(model, STREAMS, "calls", reference=reference)


def items(runtime: ModelRuntime, count: int, seed: int, heat: float = 0.0, words: str = "lane is blocked") -> list[Any]:
    """Calls, nine in ten with a reading of this mean."""
    rng, made = np.random.default_rng(seed), []
    for n in range(count):
        reading = event("oven", json.dumps({"heat": float(rng.normal(heat))}))
        call = event("calls", f"word{rng.integers(40)} {words}")
        made.append(runtime.prepare(aligned(call, **({"oven": [reading]} if n % 10 else {}))))
    return made


def answered(reference: Reference, **given: Any) -> dict[str, float]:
    """The index of each quantity after 300 verdicts."""
    runtime = served(reference)
    asked = items(runtime, 300, seed=2, **given)
    for first in range(0, 300, 30):
        runtime.infer(asked[first : first + 30])
    assert runtime.drift is not None
    return runtime.drift.psi()


def test_a_stream_that_has_moved_is_told_and_one_that_has_not_is_not() -> None:
    """Of a reading its value; of calls words that nobody knows; of either nothing else that went in."""
    runtime = served(None)
    model = Served(runtime._model, runtime._config, TOKENIZER.backend_tokenizer, runtime._device, "fp32", "1")
    reference = reference_of(model, [(item, 0) for item in items(runtime, 400, seed=1)])
    inputs = {"present/oven", "value/oven/heat", "present/calls", "tokens/calls", "unknown/calls"}
    assert set(reference.quantities) == inputs | {"score", "label"}
    assert max(answered(reference).values()) < 0.1
    hot = answered(reference, heat=2.0)
    assert hot["value/oven/heat"] > 1
    assert max(hot[name] for name in inputs - {"value/oven/heat"}) < 0.1
    strange = answered(reference, words="☃ ☃ ☃")
    assert strange["unknown/calls"] > 1
    assert strange["value/oven/heat"] < 0.1


def test_too_few_verdicts_say_nothing_and_old_ones_are_forgotten() -> None:
    """Of a window of 300, from 200 on; a change fades once the window has passed."""
    drift = Drift(Reference({"x": Quantity((0.5,), (200, 200, 0))}), ["score", "x"], window=300)
    even = np.array([[0.9, n % 2] for n in range(199)])
    drift.add(even)
    assert math.isnan(drift.psi()["x"])
    drift.add(np.array([[0.9, ABSENT]] * 100))
    assert math.isnan(drift.psi()["x"])
    for _ in range(4):
        drift.add(np.array([[0.9, 1.0]] * 100))
    assert drift.psi()["x"] > 0.5
    for _ in range(2):
        drift.add(even)
    assert drift.psi()["x"] == 0.0


class Lines:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.told.append((event, fields["reason"]))

    warning = error = info


def test_a_worker_tells_the_index_as_a_gauge() -> None:
    """As soon as enough verdicts are there; too few tell no number."""
    observer, lines = PrometheusObserver(), Lines()
    drift = Drift(Reference({"x": Quantity((0.5,), (200, 200, 0))}), ["x"])
    watch(drift, observer, lines)
    drift.add(column(np.ones(100)))
    assert observer.registry.get_sample_value("fusion_drift_psi", {"quantity": "x"}) is None
    drift.add(column(np.ones(100)))
    drift.tell()
    assert (observer.registry.get_sample_value("fusion_drift_psi", {"quantity": "x"}) or 0) > 0.5
    assert lines.told == []


def test_a_model_without_a_reference_says_so_once() -> None:
    """At the start, with the way to get one."""
    observer, lines = PrometheusObserver(), Lines()
    watch(served(None).drift, observer, lines)
    assert lines.told == [("drift is not watched", "the model's folder has no reference.json, which `train` writes")]
