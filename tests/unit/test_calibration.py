"""Temperatures: what an errorless split may claim, and each verdict by the temperature of the inputs that it has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import write_tiny_model
from worker.feeds.junction import LABELS
from worker.model.items import Item
from worker.model.load import load
from worker.model.preprocess import NO_TOKEN
from worker.model.runtime import ModelRuntime
from worker.model.sums import write_sums
from worker.training.evaluate import Measured, fitted_temperature


@pytest.mark.parametrize(("right", "margin"), [(60, 0.3), (60, 5.0), (400, 1.0)])
def test_an_errorless_split_claims_no_more_than_it_can_know(right: int, margin: float) -> None:
    """Of N right ones the mean best score is (N + 1) / (N + 2), whatever the size of the logits."""
    logits = np.eye(3)[np.arange(right) % 3] * margin
    measured = Measured(logits, np.arange(right) % 3, 1.0, ("a", "b", "c"))
    calibrated = Measured(logits, measured.truth, fitted_temperature(measured), measured.names)
    assert calibrated.scores.max(axis=1).mean() == pytest.approx((right + 1) / (right + 2), abs=1e-4)


def items() -> list[Item]:
    """With a reading and a text, and with either."""
    ids = torch.full((32,), NO_TOKEN)
    ids[:5] = torch.arange(4, 9)
    whole = Item(((torch.randn(16, 2, generator=torch.Generator().manual_seed(1)),), (ids,)))
    return [whole, whole.only([0]), whole.only([1])]


def served(folder: Path) -> ModelRuntime:
    """As a worker opens it, with evidence."""
    return ModelRuntime(
        path=str(folder), device="cpu", precision="fp32", anchor="notes",
        modalities={"radar": "sensor", "notes": "text"}, evidence=True,
    )  # fmt: skip


def scores(logits: torch.Tensor, temperature: float) -> dict[str, float]:
    """By label, as published."""
    told = (logits / temperature).softmax(dim=-1).tolist()
    return dict(zip(LABELS, [pytest.approx(one, abs=1e-4) for one in told], strict=True))


def test_each_verdict_has_the_temperature_of_what_is_present(tmp_path: Path) -> None:
    """Together and alone, in scores and evidence; a set without one, and a model from before, has the general one."""
    folder = write_tiny_model(tmp_path, ("sensor", "text"))
    model = load(folder)[0].eval()
    told = {}
    with torch.inference_mode():
        for number, item in enumerate(items()):
            told[number] = model([torch.stack(b) if b else torch.zeros(0) for b in item.bodies],
                                 [torch.zeros(len(b), dtype=torch.long) for b in item.bodies], 1).logits[0]  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("calibrations") == {}
    for given, used in (({}, (0.7, 0.7, 0.7)), ({"calibrations": {"3": 0.2, "1": 0.4}}, (0.2, 0.4, 0.7))):
        (folder / "config.json").write_text(json.dumps({**config, "calibration": 0.7, **given}))
        write_sums(folder)
        verdicts = served(folder).infer(items())
        for number, temperature in enumerate(used):
            assert verdicts[number].scores == scores(told[number], temperature)
        evidence = verdicts[0].evidence
        for number, (name, other) in enumerate((("radar", "notes"), ("notes", "radar")), 1):
            best = max(scores(told[number], used[number]).values(), key=lambda one: one.expected)
            assert evidence["alone"][name]["score"] == evidence["without"][other]["score"] == best
