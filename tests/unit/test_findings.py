"""`evaluate`: by group, on spoiled inputs, after an adversarial step; printed, in files and on the card."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from rich.console import Console

from schemas.generate import FOLDER
from schemas.metrics import MetricsV1
from tests.tiny import write_tiny_model
from tests.unit.test_training import QUICK, arguments, evaluation, folder
from worker.errors import ConfigError
from worker.model.folder import folder_of
from worker.model.fusion_model import FusionModel
from worker.model.int8 import Int8Linear
from worker.model.load import load
from worker.model.preprocess import Preprocessor
from worker.training.adversarial import impossible, step_of
from worker.training.data import Samples, batches
from worker.training.evaluate import labels_of, measure
from worker.training.evaluation import evaluate
from worker.training.presence import ALL
from worker.training.run import train
from worker.training.sources import junction_samples
from worker.training.spoiled import Asked, probed


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[FusionModel, Samples]:
    """An untrained model and eight scenes."""
    model, tokenizer = load(write_tiny_model(tmp_path_factory.mktemp("tiny")))
    model.eval()
    drawn = list(junction_samples("test", 8, 3))
    return model, Samples(
        drawn, ["image", "text"], labels_of(model.config), model.config, Preprocessor(model.config, tokenizer)
    )


def test_an_adversarial_step_lowers_the_right_score_and_stays_small(asked: tuple[FusionModel, Samples]) -> None:
    """Each number of a picture by so many levels at most, within 0..255; the loss of a batch grows with each size."""
    model, samples = asked
    for arguments_, labels in batches(samples, 4, ALL, seed=0, shuffle=False):
        with torch.inference_mode():
            losses = [torch.nn.functional.cross_entropy(model(**arguments_).logits, labels)]
            for levels in (1, 2, 4):
                made = step_of(model, arguments_, labels, levels)
                moved = made["bodies"][0].int() - arguments_["bodies"][0].int()
                assert made["bodies"][0].dtype == torch.uint8
                assert moved.abs().max() == levels
                assert (moved != 0).float().mean() > 0.5
                assert torch.equal(made["bodies"][1], arguments_["bodies"][1])
                losses.append(torch.nn.functional.cross_entropy(model(**made).logits, labels))
        assert losses[0] < losses[1] < losses[2] < losses[3]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_is_measured_after_a_step_is_the_changed_picture(asked: tuple[FusionModel, Samples]) -> None:
    """`measure` with an `alter` gives the logits of what it gives; without one those as they were."""
    model, samples = asked
    plain = measure(model, samples, 4, ALL)
    same = measure(model, samples, 4, ALL, alter=lambda given, labels: given)
    moved = measure(model, samples, 4, ALL, alter=lambda given, labels: step_of(model, given, labels, 4))
    assert np.array_equal(plain.logits, same.logits)
    rows = np.arange(len(plain.truth))
    assert (moved.scores[rows, moved.truth] - plain.scores[rows, plain.truth]).mean() < 0


def test_each_adversarial_row_is_of_its_own_size(asked: tuple[FusionModel, Samples]) -> None:
    """What is told of a size is what the model makes of a step of that size, beside the same samples as they are."""
    model, samples = asked
    plain = measure(model, samples, 4, ALL)
    rows = probed(Asked(model, samples, plain, None, 4, 0), Console(quiet=True))
    assert not isinstance(rows, str)
    assert [row.strength for row in rows] == ["1/255", "2/255", "4/255"]
    for row, levels in zip(rows, (1, 2, 4), strict=True):
        moved = measure(model, samples, 4, ALL, alter=partial(step_of, model, levels=levels))
        assert np.array_equal(row.spoiled.logits, moved.logits)
        assert np.array_equal(row.plain.logits, plain.logits)
    assert len({row.spoiled.logits.tobytes() for row in rows}) == 3


def test_where_no_step_is_possible_it_says_why(tmp_path: Path) -> None:
    """A model without images, and one that computes in int8."""
    model, _ = load(write_tiny_model(tmp_path / "a", ("text",)))
    assert impossible(model) == "the model takes no image"
    model, _ = load(write_tiny_model(tmp_path / "b"))
    assert impossible(model) is None
    model.head = Int8Linear(model.head)
    assert "int8" in str(impossible(model))


def test_figures_from_before_heads_are_read() -> None:
    """They have none."""
    before = (folder_of("shipped:home") / "metrics.json").read_text()
    assert "heads" not in json.loads(before)
    assert MetricsV1.model_validate_json(before).heads == {}


def test_all_of_it_is_printed_written_and_on_the_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables by group and strength; `metrics.json` fits its schema and says the same; an unknown attribute is named."""
    data, out = folder(tmp_path), tmp_path / "out"
    for split in ("train", "dev", "test"):
        rows = [json.loads(line) for line in (tmp_path / f"{split}.jsonl").read_text().splitlines()]
        told = [{**row, "key": f"camera-{n % 2}", "attributes": {"lit": n < 5}} for n, row in enumerate(rows)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    train(arguments("--data", str(data), "--out", str(out), *QUICK))
    card = (out / "README.md").read_text()
    for part in ("by key ", "by lit ", "\nimage adversarial step 1/255", "\nall together middle", "AUROC"):
        assert part in card
    more = [{**row, "image": None, "key": f"camera-{n % 2}"} for n, row in enumerate(told * 3)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (*told, *more)))
    given = ("--data", str(data), "--model", str(out), "--by", "key", "--positive", "congestion")
    capsys.readouterr()
    evaluate(evaluation(*given, "--report", str(tmp_path / "report"), "--plots", str(tmp_path / "plots")))
    printed = capsys.readouterr().out
    assert (tmp_path / "report" / "report.txt").read_text().strip() in printed
    assert (tmp_path / "plots" / "ranking.png").exists()
    schema = Draft202012Validator(json.loads((FOLDER / "json" / "metrics.v1.json").read_text()))
    ours, found = (json.loads((at / "metrics.json").read_text()) for at in (out, tmp_path / "report"))
    for one, count in ((ours, 12), (found, 48)):
        schema.validate(one)
        assert one["heads"] == {}
        assert one["data"]["n"] == count
    assert [one["strength"] for one in ours["adversarial"]] == ["1/255", "2/255", "4/255"]
    assert len(ours["robustness"]) == 4 + 2 + 1
    assert ours["presence"]["all"]["n"] == found["presence"]["all"]["n"] == 12
    assert {one["by"] for one in ours["groups"]} == {"key", "lit"}
    assert [one["name"] for one in found["groups"][0]["groups"]] in (["camera-0", "camera-1"], ["camera-1", "camera-0"])
    assert f"{found['presence']['as they come']['accuracy']['value']:.3f}" in printed
    assert found["labels"]["congestion"]["n"] == 24
    for more, message in (
        (("--by", "colour"), r"--by colour: no row has such an attribute; must be one of key, missing, lit"),
        (("--positive", "accident", "--by", "key"), r"--positive accident: must be one of congestion, free_flow"),
        (("--positive", "congestion"), r"--positive: has an effect with --by alone"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate(evaluation("--data", str(data), "--model", str(out), *more))
