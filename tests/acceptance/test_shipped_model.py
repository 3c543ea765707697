"""The model that ships needs both modalities and bears corrupted ones; said with few samples never seen in training."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.model.folder import SHIPPED
from worker.model.fusion_model import FusionModel
from worker.model.load import load
from worker.model.preprocess import Preprocessor
from worker.training.data import ALL, Samples, patterns
from worker.training.evaluate import labels_of, measure
from worker.training.robust import changes
from worker.training.sources import junction_samples

SEED = 77  # the model was trained with seed 0
NAMES = ["image", "text"]


@pytest.fixture(scope="module")
def shipped() -> tuple[FusionModel, Samples]:
    """The model and 200 scenes."""
    model, tokenizer = load(SHIPPED)
    drawn = list(junction_samples("test", 200, SEED))
    return model, Samples(drawn, NAMES, labels_of(model.config), model.config, Preprocessor(model.config, tokenizer))


@pytest.mark.parametrize(
    ("pattern", "least", "most"), [("all", 0.97, 1.0), ("image only", 0.4, 0.6), ("text only", 0.4, 0.6)]
)
def test_neither_modality_alone_is_enough(
    shipped: tuple[FusionModel, Samples], pattern: str, least: float, most: float
) -> None:
    """Both together are right nearly always, each alone about half of the time."""
    model, samples = shipped
    assert least <= measure(model, samples, 20, patterns(NAMES)[pattern], lambda: None).accuracy <= most


@pytest.mark.parametrize("way", ["noise", "blur", "dark", "rotated", "typos"])
def test_spoiled_inputs_cost_little(shipped: tuple[FusionModel, Samples], way: str) -> None:
    """Each way of `evaluate --robust` leaves nine of ten right."""
    model, samples = shipped
    assert measure(model, samples.changed(changes()[way]), 20, ALL, lambda: None).accuracy >= 0.9


def test_the_weights_are_small() -> None:
    """At most 12 MB in the repository."""
    assert sum(file.stat().st_size for file in Path(SHIPPED).iterdir() if file.is_file()) <= 12_000_000
