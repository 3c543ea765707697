"""The home's model that ships: any two inputs are enough, none is alone; said with moments never seen in training."""

from __future__ import annotations

import pytest

from worker.feeds import home
from worker.model.folder import folder_of
from worker.model.fusion_model import FusionModel
from worker.model.load import load
from worker.model.preprocess import Preprocessor
from worker.training.data import Samples
from worker.training.evaluate import labels_of, measure
from worker.training.presence import patterns
from worker.training.sources import home_samples

SEED = 77  # the model was trained with seed 0
FOLDER = folder_of("shipped:home")


@pytest.fixture(scope="module")
def shipped() -> tuple[FusionModel, Samples]:
    """The model and 240 moments."""
    model, tokenizer = load(FOLDER)
    assert dict(zip(model.config.names, model.config.inputs, strict=True)) == home.STREAMS
    drawn = list(home_samples("test", 240, SEED))
    preprocessor = Preprocessor(model.config, tokenizer)
    return model, Samples(drawn, model.config.names, labels_of(model.config), model.config, preprocessor)


@pytest.mark.parametrize(
    ("pattern", "least", "most"),
    [("all", 0.93, 1.0), ("no texts", 0.9, 1.0)] + [(f"{name} only", 0.5, 0.8) for name in home.STREAMS],
)
def test_no_input_alone_is_enough(
    shipped: tuple[FusionModel, Samples], pattern: str, least: float, most: float
) -> None:
    """All are right nearly always, also where nobody speaks; each alone leaves labels open."""
    model, samples = shipped
    presence = patterns(model.config.names)[pattern]
    assert least <= measure(model, samples, 20, presence).accuracy <= most


def test_its_files_are_small() -> None:
    """At most 3 MB in the repository."""
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) <= 3_000_000
