"""The model that ships, asked about sentences of other hands and frames of other things."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.bench.foreign import dead, foreign
from tests.bench.wordings import ENGLISH, UNFAMILIAR, Asked, apart, right, sentences
from worker.feeds.junction import LABELS, frame
from worker.model.folder import SHIPPED
from worker.model.fusion_model import FusionModel
from worker.model.load import load
from worker.model.preprocess import Preprocessor
from worker.records import Verdict
from worker.training.data import Samples
from worker.training.evaluate import measure
from worker.training.presence import ALL, patterns
from worker.training.robust import MIDDLE, change_of, kinds
from worker.training.sources import junction_samples

SEED = 77  # the model was trained with seed 0
NAMES = ["image", "text"]


@pytest.fixture(scope="module")
def asked() -> Asked:
    """The model, as a worker asks it."""
    return Asked(SHIPPED)


@pytest.fixture(scope="module")
def few() -> tuple[FusionModel, Samples]:
    """The model and 80 scenes with reports in few wordings."""
    model, tokenizer = load(SHIPPED)
    drawn = list(junction_samples("test", 80, SEED))
    return model, Samples(drawn, NAMES, sorted(LABELS), model.config, Preprocessor(model.config, tokenizer))


def strange(verdicts: list[Verdict]) -> float:
    """How many are said not to be familiar."""
    told = [one.confidence is not None and one.confidence.familiar < UNFAMILIAR for one in verdicts]
    return sum(told) / len(told)


def test_it_reads_what_others_wrote(asked: Asked) -> None:
    """Of reports with their frames nine of ten, of denied alarms eight."""
    asked_of = [(kind, text) for kind, text in sentences() if kind in ENGLISH]
    found = right(asked, asked_of)
    denied = [good for (kind, _), good in zip(asked_of, found, strict=True) if kind == "denied"]
    assert sum(found) / len(found) >= 0.9
    assert sum(denied) / len(denied) >= 0.8


def test_it_says_of_what_it_cannot_read_and_of_other_pictures_that_they_are_not_familiar(asked: Asked) -> None:
    """Four of five English sentences about something else, of Chinese ones, and of frames of something else."""
    rng = np.random.default_rng(1)
    for which in (("off_topic",), ("chinese_alarm", "chinese_calm", "chinese_off_topic")):
        other = [text for kind, text in sentences() if kind in which]
        assert strange(asked((frame(rng, "congestion"), text) for text in other)) >= 0.8
    known = [text for kind, text in sentences() if kind in ("calm", "alarm")][::3]
    assert strange(asked((foreign(rng), text) for text in known)) >= 0.8


def test_a_dead_camera_s_frame_weighs_little(asked: Asked) -> None:
    """The scores are nearly those of the report alone: whether the road is full stays open."""
    rng = np.random.default_rng(2)
    known = [text for kind, text in sentences() if kind in ("calm", "alarm")][::3]
    far = apart(asked((dead(rng), text) for text in known), asked((None, text) for text in known))
    assert float(np.mean(far)) < 0.3


@pytest.mark.parametrize(
    ("pattern", "least", "most"), [("all", 0.95, 1.0), ("image only", 0.4, 0.6), ("text only", 0.4, 0.6)]
)
def test_neither_modality_alone_is_enough(
    few: tuple[FusionModel, Samples], pattern: str, least: float, most: float
) -> None:
    """Both together are right nearly always, each alone about half of the time."""
    model, samples = few
    assert least <= measure(model, samples, 20, patterns(NAMES)[pattern]).accuracy <= most


@pytest.mark.parametrize(
    ("way", "least"), [("noise", 0.9), ("blur", 0.9), ("dark", 0.9), ("rotated", 0.9), ("typos", 0.7)]
)
def test_spoiled_inputs_cost_little(few: tuple[FusionModel, Samples], way: str, least: float) -> None:
    """Each way of `evaluate --robust` on images leaves nine of ten right; a tenth of the letters lost, 0.79 of 80."""
    model, samples = few
    change = change_of([kind for kind in kinds(model.config) if kind.name == way], MIDDLE)
    assert measure(model, samples.changed(change), 20, ALL).accuracy >= least


def test_the_weights_are_small() -> None:
    """At most 12 MB in the repository."""
    assert sum(file.stat().st_size for file in Path(SHIPPED).rglob("*") if file.is_file()) <= 12_000_000
