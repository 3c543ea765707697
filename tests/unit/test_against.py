"""A model with an input missing is held against the model that was trained on the other alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.test_training import QUICK, arguments, evaluation, folder
from worker.errors import ConfigError
from worker.training.evaluation import evaluate
from worker.training.run import train


def test_the_row_is_what_each_model_says_of_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The figures are those of the presence pattern and of the other model's own report, below its folder's name."""
    data = ("--data", str(folder(tmp_path)), *QUICK, "--augment", "0")
    whole, alone = tmp_path / "whole", tmp_path / "alone"
    train(arguments(*data, "--out", str(whole)))
    pattern = re.search(r"^text only +([\d.]+)", capsys.readouterr().out, re.MULTILINE)
    train(arguments(*data, "--out", str(alone), "--inputs", "text", "--label-smoothing", "0.1"))
    own = re.search(r"^all +([\d.]+)", capsys.readouterr().out, re.MULTILINE)
    assert pattern
    assert own
    given = ("--data", str(tmp_path))
    evaluate(evaluation(*given, "--model", str(whole), "--against", str(alone), str(whole)))
    head, row, other_head, other = capsys.readouterr().out.splitlines()[-4:]
    assert head.split() == ["this", "model", str(alone), "points", "95", "%", "n"]
    assert other_head.split() == ["this", "model", str(whole), "points", "95", "%", "n"]
    assert (other.split()[0], float(other.split()[3])) == ("all", 0.0)
    points = 100 * (float(pattern[1]) - float(own[1]))
    assert row.split()[:4] == ["text", "only", pattern[1], own[1]]
    assert float(row.split()[4]) == pytest.approx(points, abs=0.11)
    (tmp_path / "test.jsonl").write_text('{"text": "hello", "label": "congestion"}\n')
    told = r"--against .*whole: the model's inputs are image \(image\), text \(text\); --data has text \(text\)"
    with pytest.raises(ConfigError, match=told):
        evaluate(evaluation(*given, "--model", str(alone), "--against", str(whole)))
    with pytest.raises(ConfigError, match="--against shipped:home: the model's inputs are texts"):
        evaluate(evaluation(*given, "--model", str(alone), "--against", "shipped:home"))
