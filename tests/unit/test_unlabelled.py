"""`train --unlabelled`: which rows it reads, which verdicts become labels, and what a run with them leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import heads as house
from tests.bench.labels import table
from tests.unit.test_training import arguments, folder
from tests.unit.test_training_choices import SMALL, readings
from worker.errors import ConfigError
from worker.training import rounds
from worker.training.build import build
from worker.training.data import batches
from worker.training.evaluate import Measured
from worker.training.fit import Plan
from worker.training.losses import Weights, contrastive_loss
from worker.training.presence import ALL
from worker.training.rounds import bring_together, threshold_of
from worker.training.run import samples_of, train
from worker.training.sources import read
from worker.training.unlabelled import read_unlabelled


def rows_of(path: Path, split: str) -> list[dict[str, Any]]:
    """Of a folder."""
    return [json.loads(line) for line in (path / f"{split}.jsonl").read_text().splitlines()]


def recording(path: Path, count: int = 40) -> Path:
    """As `record` writes rows that have no label, of the inputs of `readings`; the first 5 have one, and of every
    fourth nobody can tell it."""
    rng = np.random.default_rng(9)
    path.mkdir()
    rows = []
    for n in range(count):
        name = ("calm", "busy")[n % 2]
        inputs = {"radar": {"speed": float(n % 2) + rng.normal(0, 0.5)}, "notes": {"text": f"{n}: the road is {name}"}}
        if n % 4 == 3:
            inputs = {"notes": {"text": f"the road at {n}"}}
        label = "lies" if n < 5 else (None, "")[n % 2]
        rows.append({"inputs": inputs, "modalities": {"radar": "sensor", "notes": "text"}, "label": label})
    (path / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return path


def _named(row: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": {"notes": {"text": row["text"]}}, "modalities": {"notes": "text"}}


def test_rows_that_dev_or_test_hold_are_left_out(tmp_path: Path) -> None:
    """The same row, and a picture of theirs beside another text; so is a row of train; labels are not looked at."""
    (tmp_path / "data").mkdir()
    own, other = folder(tmp_path / "data"), tmp_path / "other"
    other.mkdir()
    for file in own.glob("*.jpg"):
        (other / file.name).write_bytes(file.read_bytes())
    (train_row, *_), (dev_row, *_), (test_row, *_) = (rows_of(own, split) for split in ("train", "dev", "test"))
    rows = [
        train_row,
        dev_row,
        {**test_row, "text": "another"},
        {"text": "its own", "label": 7, "targets": {"cars": 3}},
    ]
    (other / "unlabelled.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    found = read_unlabelled(other, read(str(own), 0, 0), None)
    assert [(one.bodies.keys(), one.targets) for one in found.samples] == [({"text"}, {})]
    assert found.told == (
        "unlabelled: 1 of 4 rows of other are used",
        "unlabelled: 4 rows have a label, which is not looked at",
        "unlabelled: 1 rows have targets, which are not looked at",
        "unlabelled: 1 rows left out, since dev has them, or a body of theirs",
        "unlabelled: 1 rows left out, since test has them, or a body of theirs",
        "unlabelled: 1 rows left out, since train has them",
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image": "a.jpg"}], "has image (image); it may have what --data has: notes (text), radar (sensor)"),
        ([{"inputs": {"radar": {"text": "x"}}, "modalities": {"radar": "text"}}], "has radar (text); it may have"),
        ([], "has no input; it may have"),
        (None, "needed are one or more of unlabelled.jsonl, train.jsonl"),
    ],
)
def test_a_folder_of_other_inputs_is_named(tmp_path: Path, rows: list[Any] | None, message: str) -> None:
    """With what it has and what it may have."""
    data = read(str(readings(tmp_path / "data")), 0, 0)
    (tmp_path / "scenes").mkdir()
    (other := tmp_path / "other").mkdir()
    (other / "a.jpg").write_bytes((folder(tmp_path / "scenes") / "train0.jpg").read_bytes())
    if rows is not None:
        (other / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(ConfigError) as told:
        read_unlabelled(other, data, None)
    assert f"--unlabelled {other}: {message}" in str(told.value)


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"volts": 1.5, "amps": 2.0}, "radar has the fields amps, volts, in --data speed, and none in common"),
        ({"speed": 1.5, "amps": 2.0}, "unlabelled: radar has fields that --data does not have: amps"),
        ({"speed": 1.5}, None),
    ],
)
def test_a_sensor_of_other_fields_is_another_one(
    tmp_path: Path, reading: dict[str, float], message: str | None
) -> None:
    """Without a field in common it is refused with both lists; fields of these rows alone are told."""
    data, other = read(str(readings(tmp_path / "data")), 0, 0), tmp_path / "other"
    other.mkdir()
    rows = [{"inputs": {"radar": {**reading, "speed": n}}, "modalities": {"radar": "sensor"}} for n in range(9)]
    if "speed" not in reading:
        rows = [{"inputs": {"radar": reading}, "modalities": {"radar": "sensor"}}]
    (other / "unlabelled.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    try:
        told = read_unlabelled(other, data, None).told[1:]
    except ConfigError as error:
        told = (str(error),)
    assert [message is not None and message in one for one in told] == [True] * (message is not None)


def test_of_heads_alone_no_labels_are_made_and_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs are still brought together."""
    monkeypatch.setattr(house, "ROWS", dict.fromkeys(house.ROWS, 24))
    data = read(str(house.write(tmp_path / "data", label=False)), 0, 0)
    built = build(arguments("--out", "x", *SMALL), data)
    splits = {split: samples_of(built, data, split) for split in data.splits}
    plan, how = Plan(batch=8, epochs=1), rounds.How(1, 2, 0.95)
    train_rows, dev, beside = splits["train"], splits["dev"], splits["test"]
    _, told = rounds.fit_beside(built.model, train_rows, dev, beside, plan, how, tmp_path, lambda *_: None)
    assert told[0].startswith("inputs of ")
    assert told[1:] == ["no labels are made: the model has further heads alone, and rounds make labels alone"]


def test_the_threshold_is_the_lowest_that_dev_allows() -> None:
    """Down to the last score at which the share of right ones is reached; equal scores go together; few say nothing."""
    scores = np.array([0.99] * 10 + [0.9] * 5 + [0.8] * 5)
    right = np.array([True] * 10 + [False] + [True] * 4 + [False] * 5)
    found = threshold_of(scores, right, 0.9)
    assert found is not None
    assert (found.score, found.count, found.precision) == (0.9, 15, pytest.approx(14 / 15))
    assert threshold_of(scores, right, 0.95) == rounds.Threshold(0.99, 1.0, 10)
    assert threshold_of(scores[:9], right[:9], 0.5) is None
    assert threshold_of(scores, np.zeros(20, bool), 0.5) is None


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each `fit` of a run was given to train on."""
    given: list[Any] = []
    real = rounds.fit

    def fit(model: Any, samples: Any, *rest: Any, **more: Any) -> Any:
        given.append(samples)
        return real(model, samples, *rest, **more)

    monkeypatch.setattr(rounds, "fit", fit)
    return given


def test_only_what_the_model_is_sure_of_gets_a_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows from the threshold on, with what the model says, of the folder alone; the run and the card tell it."""
    asked: list[Any] = []
    real = rounds.measure

    def measure(model: Any, samples: Any, *rest: Any, **more: Any) -> Measured:
        found: Measured = real(model, samples, *rest, **more)
        asked.append((samples, found))
        return found

    monkeypatch.setattr(rounds, "measure", measure)
    data, out = readings(tmp_path / "data", 40), tmp_path / "out"
    unclear = [{"text": f"the road since {n}", "label": ("calm", "busy")[n % 2]} for n in range(10)]
    rows = [*rows_of(data, "dev"), *({**_named(row), "label": row["label"]} for row in unclear)]
    (data / "dev.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    given = ("--data", str(data), "--unlabelled", str(recording(tmp_path / "more")), "--out", str(out), *SMALL)
    assert train(arguments(*given, "--epochs", "4", "--rounds", "1", "--sure", "0.95")) == 0
    printed, (first, second) = capsys.readouterr().out, seen
    (dev, known), (unlabelled, said) = asked
    bound = threshold_of(known.scores.max(axis=1), known.said == known.truth, 0.95)
    assert bound is not None
    sure = said.scores.max(axis=1) >= bound.score
    assert 0 < sure.sum() < len(sure), "the data must leave some out"
    added = second._samples[len(first._samples) :]
    wanted = [one for one, is_sure in zip(unlabelled._samples, sure, strict=True) if is_sure]
    assert [one.place for one in added] == [one.place for one in wanted]
    assert [one.label for one in added] == [said.names[number] for number in said.said[sure]]
    assert not {one.place for one in dev._samples} & {one.place for one in second._samples}
    assert "5 rows have a label, which is not looked at" in printed
    assert f"round 1: {sure.sum()} of 40 rows" in printed
    card = (out / "README.md").read_text()
    assert f"- Round 1: {sure.sum()} of 40 rows" in card
    assert "- Inputs of " in card


def test_where_dev_is_never_sure_no_label_is_made(tmp_path: Path, seen: list[Any]) -> None:
    """One training, on the labelled rows alone."""
    path = readings(tmp_path / "data")
    rows = rows_of(path, "dev")
    turned = [{**row, "label": {"calm": "busy", "busy": "calm"}[row["label"]]} for row in rows]
    (path / "dev.jsonl").write_text("\n".join(json.dumps(row) for row in turned))
    given = ("--data", str(path), "--unlabelled", str(recording(tmp_path / "more")), "--out", str(tmp_path / "out"))
    assert train(arguments(*given, *SMALL, "--epochs", "4", "--unlabelled-epochs", "1", "--sure", "0.99")) == 0
    assert len(seen) == 1


def test_inputs_of_a_row_are_brought_together(tmp_path: Path) -> None:
    """Before any label: of rows that it was not shown, radar and notes are told to belong together more often."""
    data = read(str(readings(tmp_path / "data", 48)), 0, 0)
    given = arguments("--out", "x", *SMALL)
    built = build(given, data)
    samples, dev = samples_of(built, data, "train"), samples_of(built, data, "dev").with_two()
    plan, before = Plan(batch=8, weights=Weights(cross_entropy=0.0)), _together(built.model, dev)
    head = built.model.head.weight.detach().clone()
    told = bring_together(built.model, samples, plan, 12, lambda *_: None)
    assert _together(built.model, dev) < before - 0.2
    assert torch.equal(head, built.model.head.weight)
    assert told.startswith("inputs of 29 rows were brought together")


def _together(model: Any, samples: Any) -> float:
    model.eval()
    with torch.no_grad():
        found = [model(**given) for given, _ in batches(samples, 8, ALL, seed=0, shuffle=False)]
    return float(np.mean([contrastive_loss(out.pooled, out.present).item() for out in found]))


def test_one_input_is_told_and_trained_without(tmp_path: Path) -> None:
    """Nothing can be brought together, and nothing is."""
    data = read(str(readings(tmp_path / "data", 40)), 0, 0).only(["radar"])
    built = build(arguments("--out", str(tmp_path / "out"), *SMALL), data)
    plan, samples = Plan(batch=8), samples_of(built, data, "train")
    assert bring_together(built.model, samples, plan, 1, lambda *_: None) == (
        "inputs are not brought together: 0 rows have two inputs or more, --batch is 8"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--rounds", "1"), "--rounds: has an effect with --unlabelled alone"),
        (("--unlabelled", "x", "--resume"), "--resume: a run with --unlabelled cannot be gone on with"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, given: tuple[str, ...], message: str) -> None:
    """One line."""
    with pytest.raises(ConfigError, match=message):
        train(arguments("--data", str(readings(tmp_path / "data")), "--out", str(tmp_path / "out"), *SMALL, *given))


def test_the_table_of_shares_tells_the_difference_paired_by_seed() -> None:
    """Each seed against itself: what two columns share of a seed's luck is in neither bound."""
    seeds = [{(50, "without"): 0.5, (50, "with"): 0.6, (100, "without"): 0.9},
             {(50, "without"): 0.7, (50, "with"): 0.8, (100, "without"): 0.9}]  # fmt: skip
    assert table(seeds, [50, 100], ["without", "with"]) == [
        "| labels | without | with | with - without, paired by seed |",
        "|---|---|---|---|",
        "| 50 % | 0.600 (-0.671 to 1.871) | 0.700 (-0.571 to 1.971) | 0.100 (0.100 to 0.100) |",
        "| 100 % | 0.900 (0.900 to 0.900) | - | - |",
    ]
