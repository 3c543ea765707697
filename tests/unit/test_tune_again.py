"""`fusion-worker tune` as a user calls it, a process each time: it goes on from the trials of before, or is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import optuna
from optuna.trial import TrialState, create_trial

from tests.unit.test_training_choices import readings

SMALL = ("--dim", "32", "--batch", "8", "--epochs", "1")


def called(*given: str) -> subprocess.CompletedProcess[str]:
    """The command, ended."""
    return subprocess.run(
        [sys.executable, "-m", "worker", *given], env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip


def states(out: Path) -> list[str]:
    """How each trial ended, in their order."""
    study = optuna.load_study(study_name="tune", storage=f"sqlite:///{out / 'tune.db'}")
    return [trial.state.name for trial in study.trials]


def test_another_process_goes_on(tmp_path: Path) -> None:
    """One trial, then a second into the same folder; what is no setting may differ, settings and data may not."""
    data, out = readings(tmp_path / "data"), tmp_path / "out"
    given = ("tune", "--data", str(data), "--out", str(out), *SMALL)
    first = called(*given, "--trials", "1")
    assert first.returncode == 0, first.stderr
    again = called("--debug", *given, "--tria", "2", "--overwrite", "--name", "road", "--level", "0.8")
    assert again.returncode == 0, again.stderr
    assert "trial 0 has the settings as given" in again.stdout
    (printed,) = [line for line in again.stdout.splitlines() if line.startswith("best: ")]
    assert printed.startswith(f"best: fusion-worker train --data {data} --out {out} --dim 32 --batch 8 --epochs 1 --ov")
    assert "--tria" not in printed
    assert len(states(out)) == 2
    (data / "train.jsonl").write_text((data / "train.jsonl").read_text().replace("the road", "the street"))
    other = called(*given, "--trials", "3", "--overwrite", "--epochs", "3", "--mels", "32")
    assert other.returncode == 2
    assert "holds trials with epochs = 1, mels = 64, train = 24 samples " in other.stderr
    assert "; this run has epochs = 3, mels = 32, train = 24 samples " in other.stderr
    assert len(other.stderr.splitlines()) == 1
    assert len(states(out)) == 2


def test_a_trial_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    """A kill leaves the first trial running: it does not count, and what was given is tried all the same."""
    data, out = readings(tmp_path / "data"), tmp_path / "out"
    out.mkdir()
    study = optuna.create_study(study_name="tune", storage=f"sqlite:///{out / 'tune.db'}", direction="maximize")
    study.add_trial(create_trial(state=TrialState.FAIL))
    done = called("tune", "--data", str(data), "--out", str(out), *SMALL, "--trials", "1", "--learning-rate", "0.003")
    assert done.returncode == 0, done.stderr
    assert states(out) == ["FAIL", "COMPLETE"]
    assert "trial 1 has the settings as given" in done.stdout
    assert "--learning-rate 0.003" in done.stdout
