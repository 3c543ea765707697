"""`tune`: trials that are kept and gone on from, judged as they are weighed, and the model of the best."""

from __future__ import annotations

import json
import re
import shlex
from argparse import ArgumentParser, Namespace
from pathlib import Path

import optuna
import pytest
import torch

from tests import heads as house
from tests.unit.test_training import arguments, weights
from tests.unit.test_training_choices import readings
from worker.errors import ConfigError
from worker.training import command
from worker.training import tune as search_of
from worker.training.run import train
from worker.training.tune import tune

SMALL = ("--dim", "32", "--batch", "8", "--epochs", "1")


def search(*given: str) -> Namespace:
    """What `tune` is called with."""
    parser = ArgumentParser()
    command.add_tune_arguments(parser)
    made = parser.parse_args(given)
    made.given = list(given)
    return made


def test_trials_are_kept_and_the_best_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first has what was given; more are added; the printed command makes the same model; others do not fit."""
    data, out = readings(tmp_path / "data"), tmp_path / "out"
    given = ("--data", str(data), "--out", str(out), *SMALL, "--weigh", "all=2,radar only=1")
    assert tune(search(*given, "--trials", "1")) == 0
    capsys.readouterr()
    with pytest.raises(ConfigError, match="holds a model already"):
        tune(search(*given, "--trials", "2"))
    assert tune(search(*given, "--trials", "2", "--overwrite")) == 0
    told = capsys.readouterr().out
    study = optuna.load_study(study_name="tune", storage=f"sqlite:///{out / 'tune.db'}")
    assert len(study.trials) == 2
    assert study.trials[0].params == {
        "fusion": "attention", "dim": 32, "learning_rate": 0.002, "modality_dropout": 0.3, "augment": 0.5,
        "label_smoothing": 0.0,
    }  # fmt: skip
    for trial in study.trials:
        if trial.state.name == "COMPLETE":
            by = trial.user_attrs["patterns"]
            assert trial.value == pytest.approx((2 * by["all"] + by["radar only"]) / 3)
    best = shlex.split(re.findall(r"^best: fusion-worker train (.*)$", told, re.MULTILINE)[0])
    best[best.index(str(out))] = str(tmp_path / "again")
    train(arguments(*best))
    one, other = weights(out), weights(tmp_path / "again")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert json.loads((out / "config.json").read_text())["fusion"] == study.best_params["fusion"]
    assert not list(out.glob("trial-*"))
    with pytest.raises(ConfigError, match=r"tune.db holds trials with epochs = 1; this run has epochs = 3; give"):
        tune(search(*given, "--trials", "2", "--overwrite", "--epochs", "3"))
    with pytest.raises(ConfigError, match=r"--weigh 'rader only': must be one of 'all', 'notes only', 'radar only'"):
        tune(search(*given, "--overwrite", "--weigh", "rader only=1"))


def test_heads_count_in_what_a_trial_is_judged_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows without a label of their own are told apart by their heads; trials that were judged otherwise do not count;
    and there is no --resume, since trials are gone on from anyway."""
    monkeypatch.setattr(house, "ROWS", dict.fromkeys(house.ROWS, 48))
    data, out = house.write(tmp_path / "data"), tmp_path / "out"
    for path in data.glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**row, "label": None}) + "\n" for row in rows))
    monkeypatch.setattr(search_of, "train", lambda _: 0)
    given = ("--data", str(data), "--out", str(out), *SMALL, "--trials", "1")
    assert tune(search(*given)) == 0
    told = capsys.readouterr().out
    study = optuna.load_study(study_name="tune", storage=f"sqlite:///{out / 'tune.db'}")
    by = study.trials[0].user_attrs["patterns"]
    assert set(by) == {"all", "notes only", "climate only"}
    assert all(0 <= one < 1 for one in by.values())
    assert len(set(by.values())) == 3
    assert "macro-F1 of label and heads, of numbers R2, on dev by pattern" in told
    study.set_user_attr("run", {n: v for n, v in study.user_attrs["run"].items() if n != "judged by"})
    with pytest.raises(
        ConfigError, match=r"tune.db holds trials with judged by = None; this run has judged by = macro"
    ):
        tune(search(*given, "--overwrite"))
    with pytest.raises(SystemExit):
        search(*given, "--resume")
    assert "unrecognized arguments: --resume" in capsys.readouterr().err
