"""What may be exported: every presence pattern, three figures, dev before test; and pruning trains as the run did."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from tests.unit.test_export import arguments as exporting
from tests.unit.test_training import arguments
from tests.unit.test_training_choices import SMALL, readings
from worker.errors import Fatal
from worker.exporting import run
from worker.exporting.gate import refuse_a_fall
from worker.exporting.prune import pruned
from worker.model.load import load
from worker.training.evaluate import Measured
from worker.training.run import train
from worker.training.vocabulary import learn_vocabulary

LIMITS = (0.005, 0.02)


def told(wrong: int, count: int = 400, score: float = 0.9) -> Measured:
    """Wrong on the first ones, each verdict with this score; every eighth is of the rare label."""
    truth = np.array([int(n % 8 == 0) for n in range(count)])
    said = np.where(np.arange(count) < wrong, 1 - truth, truth)
    return Measured(np.log(np.eye(2)[said] * (2 * score - 1) + 1 - score), truth, 1.0, ("often", "rare"))


def refused(before: dict[str, Measured], after: dict[str, Measured]) -> str:
    """What the gate says; nothing when it lets pass."""
    try:
        refuse_a_fall("int8", "dev", before, after, *LIMITS)
    except Fatal as fatal:
        return str(fatal)
    return ""


def test_a_fall_under_any_pattern_is_refused() -> None:
    """With all inputs beyond the limit; with some of them where it is sure; a few verdicts that change are let pass."""
    before = {"all": told(40), "radar only": told(40)}
    assert refused(before, before) == ""
    assert refused(before, {"all": told(42), "radar only": told(43)}) == ""
    assert refused(before, {"all": told(43), "radar only": told(40)}) == (
        "--to int8: accuracy falls from 0.9000 to 0.8925 on dev (all), by 0.0075, more than --max-drop 0.005; "
        "nothing was written"
    )
    assert re.match(
        r"--to int8: accuracy falls from 0.9000 to 0.8000 on dev \(radar only\), by 0.1000 \(95 %: 0.07.. to 0.13..\), "
        r"more than --max-drop 0.005; nothing was written",
        refused(before, {"all": told(40), "radar only": told(80)}),
    )


def test_rare_labels_and_scores_are_looked_at() -> None:
    """As many right as before, but none of the rare label; the same labels, but scores that say too much."""
    before, truth = {"all": told(50)}, told(50).truth
    rare = Measured(np.tile([[1.0, 0.0]], (400, 1)), truth, 1.0, ("often", "rare"))
    assert rare.accuracy == before["all"].accuracy
    assert "macro-F1 falls from" in refused(before, {"all": rare})
    assert re.search(
        r"calibration error rises from 0.02.. to 0.12.. on dev \(all\), .* more than --max-ece-rise 0.02",
        refused(before, {"all": told(50, score=0.999)}),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Data of a sensor and notes, and a model that was trained on it with its text encoder held."""
    path = tmp_path_factory.mktemp("gate")
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    tokenizer = learn_vocabulary(["the road is calm busy"], 300)
    tokenizer.save_pretrained(path / "bert")
    BertModel(BertConfig(vocab_size=len(tokenizer), **text)).save_pretrained(path / "bert")
    data = readings(path / "data", 40)
    given = ("--text", str(path / "bert"), "--encoders", "frozen", "--label-smoothing", "0.1", "--epochs", "1")
    train(arguments("--data", str(data), "--out", str(path / "model"), *SMALL, *given))
    return data, path / "model"


def test_dev_chooses_and_test_judges(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What falls on dev is not asked on test; what falls on test alone is refused too; nothing is left behind."""
    data, model = trained
    for falls, split in (((40, 80), "dev"), ((40, 40, 80), "test")):
        first, *rest = falls
        answers = iter([{"all": told(first)}, {"all": told(first)}, *({"all": told(wrong)} for wrong in rest)])
        monkeypatch.setattr(run, "measured_of", lambda *_, answers=answers: next(answers))
        with pytest.raises(Fatal, match=rf"accuracy falls from 0.9000 to 0.8000 on {split} \(all\)") as fatal:
            run.export(exporting(model, tmp_path / "out", "--to", "bf16", "--data", str(data)))
        assert fatal.value.exit_code == 1
        assert next(answers, None) is None
        assert list(tmp_path.iterdir()) == []


def test_pruning_trains_on_by_the_plan_of_the_run(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """What was held stays held, and the losses are those of the run; the rest is trained."""
    data, model = trained
    given = ("--to", "pruned", "--data", str(data), "--max-drop", "0.99", "--max-ece-rise", "0.99", "--epochs", "1")
    run.export(exporting(model, tmp_path / "out", *given))
    wanted, made = pruned(load(model)[0], 0.3).state_dict(), load(tmp_path / "out")[0]
    for name, one in made.state_dict().items():
        if name.startswith("encoders.text.encoder."):
            assert torch.equal(one, wanted[name]), name
    assert not torch.equal(made.head.weight, wanted["head.weight"])
    plan = made.config.training
    assert (plan["tuning"], plan["augment"], plan["weights"]["label_smoothing"]) == ("frozen", 0.0, 0.1)
