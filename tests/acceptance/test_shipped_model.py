"""The model that ships needs both modalities, and says so with few samples never seen in training."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.model.load import load
from worker.model.preprocess import Preprocessor
from worker.model.runtime import SHIPPED
from worker.training.data import Samples, patterns
from worker.training.evaluate import labels_of, measure
from worker.training.sources import junction_samples

SEED = 77  # the model was trained with seed 0


@pytest.mark.parametrize(
    ("pattern", "least", "most"), [("all", 0.93, 1.0), ("image only", 0.4, 0.6), ("text only", 0.4, 0.6)]
)
def test_neither_modality_alone_is_enough(pattern: str, least: float, most: float) -> None:
    """Both together are right nearly always, each alone about half of the time."""
    model, tokenizer = load(SHIPPED)
    names, drawn = ["image", "text"], list(junction_samples("test", 200, SEED))
    samples = Samples(drawn, names, labels_of(model.config), model.config, Preprocessor(model.config, tokenizer))
    presence = patterns(names)[pattern]
    assert least <= measure(model, samples, 20, presence, lambda: None).accuracy <= most


def test_the_weights_are_small() -> None:
    """At most 12 MB in the repository."""
    assert sum(file.stat().st_size for file in Path(SHIPPED).iterdir() if file.is_file()) <= 12_000_000
