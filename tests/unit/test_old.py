"""`train --old-data`: what is left out of either data, and what may not fall, heads among it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import heads as house
from tests.unit.test_training import arguments
from tests.unit.test_training_choices import SMALL
from worker.errors import ConfigError, Fatal
from worker.training.build import build
from worker.training.head_measures import of_heads
from worker.training.old import Old, fall, with_old
from worker.training.rows import NO_LABEL
from worker.training.sources import read
from worker.training.start import Start

Beside = Callable[..., tuple[Old, Start]]


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Beside:
    """New data beside old, whose model is untrained; `label`: whether new and old rows have one."""
    monkeypatch.setattr(house, "ROWS", dict.fromkeys(house.ROWS, 24))

    def made(*label: bool, change: Callable[[Path, Path], object] = lambda *_: None) -> tuple[Old, Start]:
        new, old = (house.write(tmp_path / str(seed), seed, label=one) for seed, one in enumerate(label))
        change(new, old)
        given = arguments("--data", str(new), "--old-data", str(old), "--out", "x", *SMALL)
        built = build(given, read(str(old), 0, 0))
        start = Start(tmp_path, built.model.eval(), built.tokenizer.backend_tokenizer, built.tokenizer, "0" * 12)
        found = with_old(given, read(str(new), 0, 0), start)
        assert found is not None
        return found, start

    return made


def lines(folder: Path, split: str) -> list[str]:
    """Of a split."""
    return (folder / f"{split}.jsonl").read_text().splitlines()


def add(folder: Path, split: str, *more: str) -> None:
    """Rows of another split."""
    (folder / f"{split}.jsonl").write_text("\n".join([*lines(folder, split), *more]) + "\n")


def test_each_head_is_held_to_the_limit(beside: Beside) -> None:
    """As before: all are told. Any head that says worse what it knew, with the label as right as ever, leaves none."""
    old, start = beside(True, True)
    config, before = start.config, old.before
    assert before.targets is not None
    known = np.nan_to_num(before.targets)
    right = np.concatenate([known[:, :2] * 2 - 1, np.eye(3)[known[:, 2].astype(int)], known[:, [3, 3, 3]]], axis=1)
    before = replace(before, columns=right)
    old = replace(old, before=before, heads=of_heads(config, before))
    told = fall(old, config, before, 0.0)
    for figure in ("accuracy", "alarms macro-F1 1.000", "room accuracy 1.000", "setpoint R2 1.000 before, 1.000 now"):
        assert figure in told
    for head, own in (("alarms", slice(2)), ("room", slice(2, 5)), ("setpoint", slice(5, 8))):
        turned = right.copy()
        turned[:, own] *= -1
        with pytest.raises(Fatal, match=rf"head {head} \S+ 1\.000 before, .*no model is written") as said:
            fall(old, config, replace(before, columns=turned), 0.02)
        assert said.value.exit_code == 1
    with pytest.raises(Fatal, match=r"head setpoint \(number\) is gone"):
        fall(old, config, replace(before, columns=None), 0.0)


def test_of_heads_alone_no_accuracy_is_told(beside: Beside) -> None:
    """All have the one label that is none."""
    old, start = beside(False, False)
    assert "accuracy 1.000" not in fall(old, start.config, old.before, 0.0)
    assert {row.label for row in old.data.splits["train"]} == {NO_LABEL}


@pytest.mark.parametrize("labelled", [(True, False), (False, True)])
def test_rows_with_and_without_a_label_do_not_mix(beside: Beside, labelled: tuple[bool, bool]) -> None:
    """One row of each is named."""
    with pytest.raises(ConfigError, match=r"train.jsonl:1 has no label, where .*train.jsonl:1 has '(urgent|calm)'"):
        beside(*labelled)


def test_what_is_measured_was_not_learned(beside: Beside) -> None:
    """New rows that the old test split has, new ones that the old model was trained on: left out and told."""

    def change(new: Path, old: Path) -> None:
        tested, trained = lines(old, "test")[:3], lines(old, "train")[:2]
        add(new, "train", *tested[:2])
        add(new, "dev", tested[2])
        add(new, "test", *trained)

    old, _ = beside(True, True, change=change)
    assert old.told[1:] == (
        "old data: 2 rows of train of --data left out: test of --old-data has the same, or a body of it",
        "old data: 1 row of dev of --data left out: test of --old-data has the same, or a body of it",
        "old data: 2 rows of test of --data left out: train of --old-data has the same",
    )
    measured = {_bodies(row) for row in old.test}
    assert not measured & {_bodies(row) for split in ("train", "dev") for row in old.data.splits[split]}
    assert len(old.data.splits["test"]) == 24


def test_a_split_of_which_nothing_is_left_is_refused(beside: Beside) -> None:
    """One line with how many."""

    def change(new: Path, old: Path) -> None:
        (new / "test.jsonl").write_text((old / "train.jsonl").read_text())

    with pytest.raises(ConfigError, match="--old-data: has all 24 rows of test of --data"):
        beside(True, True, change=change)


def _bodies(row: Any) -> tuple[bytes, ...]:
    return tuple(body.payload for _, bodies in sorted(row.bodies.items()) for body in bodies)
