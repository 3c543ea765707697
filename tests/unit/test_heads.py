"""Heads beside the label: from rows to a model, its report, its results, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from schemas.result import ResultV1
from tests import heads as house
from tests.unit.served import aligned, event, model_of, runtime_of
from tests.unit.test_training import arguments, evaluation
from worker.errors import ConfigError
from worker.model.heads import Head, Heads
from worker.model.load import load
from worker.records import Verdict
from worker.stages.publish import ResultWriter
from worker.training.asked import Asked
from worker.training.evaluate import Measured
from worker.training.evaluation import evaluate
from worker.training.findings import told_of_heads
from worker.training.head_measures import HeadMeasured, head_rows, judged_by
from worker.training.heads import encoded, heads_of
from worker.training.rows import Sample
from worker.training.run import train

ROWS = 48
QUICK = ("--dim", "32", "--epochs", "2", "--augment", "0", "--batch", "16")
TOLD = [
    {"name": "alarms", "kind": "labels", "labels": ["smoke", "water"], "thresholds": [0.4, 0.6]},
    {"name": "setpoint", "kind": "number", "mean": 20.0, "std": 2.0, "widened": 0.1, "unit": "C"},
]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all four, of few rows."""
    monkeypatch.setattr(house, "ROWS", dict.fromkeys(house.ROWS, ROWS))
    return house.write(tmp_path / "data")


def changed(folder: Path, split: str, number: int, **change: Any) -> Path:
    """With one row's targets changed; `number` counts from 1."""
    path = folder / f"{split}.jsonl"
    lines = path.read_text().splitlines()
    row = json.loads(lines[number - 1])
    row["targets"] |= change
    lines[number - 1] = json.dumps(row)
    path.write_text("\n".join(lines) + "\n")
    return folder


def test_all_four_are_trained_told_and_measured(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One command makes them, with a unit; report, card and `evaluate` tell each; the dev split fitted each."""
    out = tmp_path / "out"
    told = ("--data", str(rows), "--out", str(out), *QUICK, "--head", "setpoint=number:C")
    assert train(arguments(*told)) == 0
    printed, card = capsys.readouterr().out, (out / "README.md").read_text()
    for line in ("head alarms (labels):", "head room (label):", "head setpoint (number, C):"):
        assert line in printed
        assert line in card
    assert evaluate(evaluation("--data", str(rows), "--model", str(out), "--report", str(tmp_path))) == 0
    again, report = capsys.readouterr().out, (tmp_path / "report.txt").read_text()
    for one in (again, report):
        assert printed[printed.index("head alarms") :].strip() == one[one.index("head alarms") :].strip()
    ours, found = (json.loads((at / "metrics.json").read_text())["heads"] for at in (out, tmp_path))
    assert ours == found
    assert {name: (one["kind"], one["unit"], one["level"]) for name, one in ours.items()} == {
        "alarms": ("labels", None, None), "room": ("label", None, None), "setpoint": ("number", "C", 0.9),
    }  # fmt: skip
    assert [*ours["room"]["presence"]] == ["all", "notes only", "climate only"]
    assert f"{ours['setpoint']['presence']['climate only']['mae']:.4g}" in printed
    model, _ = load(out)
    alarms, room, setpoint = Heads(model.config.heads).each
    assert (alarms.labels, room.labels) == (house.ALARMS, house.ROOMS)
    assert len(alarms.thresholds) == 2
    assert room.temperature != 1
    assert (setpoint.unit, setpoint.level) == ("C", 0.9)
    assert setpoint.widened != 0
    assert model.head.out_features == 2 + 2 + 3 + 3


def test_a_model_of_a_number_alone(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No row has a label: it is trained, by its head, and its label is the one word for that."""
    house.write(rows, label=False, only="setpoint")
    assert train(arguments("--data", str(rows), "--out", str(tmp_path / "out"), *QUICK)) == 0
    printed = capsys.readouterr().out
    assert "head setpoint (number):" in printed
    assert "accuracy" not in printed
    assert "no_label" not in printed + (tmp_path / "out" / "README.md").read_text()
    assert not (tmp_path / "out" / "confusion.png").exists()
    with pytest.raises(ConfigError, match=r"^--robust: is about the label, which this model has not; its heads are s"):
        evaluate(evaluation("--data", str(rows), "--model", str(tmp_path / "out"), "--robust"))
    assert load(tmp_path / "out")[0].config.id2label == {0: "no_label"}


@pytest.mark.parametrize(
    ("split", "change", "said"),
    [
        ("train", {"setpoint": "warm"}, r'train.jsonl:5: targets.setpoint: "warm" is a word; the head setpoint is of '
         r"kind number, as 2[\d.]+ at .*train.jsonl:\d+: it may be a finite number, such as 21.5, or null"),
        ("train", {"setpoint": True}, r"train.jsonl:5: targets.setpoint: true is none; it may be a finite number"),
        ("train", {"alarms": "smoke"}, r'train.jsonl:5: targets.alarms: "smoke" is a word; the head alarms is of kind '
         r"labels, .*: it may be a list of words"),
        ("train", {"alarms": ["fire"]}, r"train.jsonl:5: targets.alarms: is the only row of train with 'fire'"),
        ("train", {"alarms": ["smoke", 3]}, r"train.jsonl:5: targets.alarms: 3 is none; it may be"),
        ("train", {"alarms": ["smoke", "smoke"]}, r"train.jsonl:5: targets.alarms: 'smoke' stands twice"),
        ("test", {"room": "cellar"}, r"test.jsonl:5: targets.room: label 'cellar' is not in the training data: bath, "),
        ("dev", {"alarms": ["smoke", "fire"]}, r"dev.jsonl:5: targets.alarms: label 'fire' is not in the "
         r"training data"),
        ("dev", {"room": 3.5}, r"dev.jsonl:5: targets.room: 3.5 is a finite number; the head room is of kind label"),
        ("dev", {"room": " "}, r'dev.jsonl:5: targets.room: " " is no label: nothing can be seen of it'),
        ("dev", {"a room": "x"}, r"dev.jsonl:5: targets: name 'a room' must be up to 48 letters"),
        ("test", {"rooom": "loft"}, r"test.jsonl:5: targets.rooom: is in no row of train; did you mean 'room'?"),
        ("train", {"lone": 3}, r"targets.lone is 3 in all 1 rows of train; a number that is to be learned differs"),
    ],
)  # fmt: skip
def test_a_target_that_cannot_be_is_named(
    rows: Path, tmp_path: Path, split: str, change: dict[str, Any], said: str
) -> None:
    """By file, row, head, and what it may be; nothing is trained."""
    changed(rows, split, 5, **change)
    with pytest.raises(ConfigError, match=said):
        train(arguments("--data", str(rows), "--out", str(tmp_path / "out"), *QUICK))


def test_rows_that_do_not_fit_each_other(rows: Path, tmp_path: Path) -> None:
    """A row without a label among others; targets that are no object; a number that is infinite; too few for a band."""
    path = rows / "dev.jsonl"
    lines = path.read_text().splitlines()
    for change, said in (
        ({"label": None}, r"dev.jsonl:3: has no label, as 1 row, where 143 rows have one, such as '"),
        ({"targets": [3]}, r'dev.jsonl:3: targets must be an object by head, such as \{"setpoint": 21.5\}, not \[3\]'),
        ({"targets": {"setpoint": 10**400}}, r"dev.jsonl:3: targets.setpoint: 1000.* is not finite; it may be a"),
    ):
        path.write_text("\n".join([*lines[:2], json.dumps(json.loads(lines[2]) | change), *lines[3:]]))
        with pytest.raises(ConfigError, match=said):
            train(arguments("--data", str(rows), "--out", str(tmp_path / "out"), *QUICK))
    path.write_text("\n".join(lines[:8]))
    with pytest.raises(ConfigError, match=r"dev split has targets.setpoint in \d rows; a band that holds 0.9 of all"):
        train(arguments("--data", str(rows), "--out", str(tmp_path / "out"), *QUICK))
    with pytest.raises(ConfigError, match=r"--head warmth: no row of train has it in its targets; there are alarms, r"):
        train(arguments("--data", str(rows), "--out", str(tmp_path / "out"), *QUICK, "--head", "warmth=number"))


def test_whole_numbers_are_labels_where_that_is_asked_for() -> None:
    """`--head mode=label`, by their names; words are no number, whatever is asked for."""
    samples = [Sample({}, "x", f"train.jsonl:{n}", {"mode": n % 2, "room": "loft"}) for n in range(4)]
    (mode,) = heads_of(
        [replace(one, targets={"mode": one.targets["mode"]}) for one in samples], [Asked("mode", "label")]
    )
    assert (mode.kind, mode.labels) == ("label", ("0", "1"))
    assert encoded(Heads([mode.told]), samples).tolist() == [[0.0], [1.0], [0.0], [1.0]]
    with pytest.raises(
        ConfigError, match=r'train.jsonl:0: targets.room: "loft" is a word; .* as --head room=number say'
    ):
        heads_of(samples, [Asked("room", "number")])


def test_the_first_columns_are_the_label_whatever_else_there_is() -> None:
    """A model with further heads says of its label what the same weights say without them, in evidence too."""
    plain = model_of(inputs=("text", "text"), input_names=("a", "b"))
    more = model_of(inputs=("text", "text"), input_names=("a", "b"), heads=TOLD)
    weights = plain.state_dict()
    added = more.state_dict()["head.weight"][3:], more.state_dict()["head.bias"][3:]
    weights |= {"head.weight": torch.cat([weights["head.weight"], added[0]])}
    more.load_state_dict(weights | {"head.bias": torch.cat([weights["head.bias"], added[1]])})
    given = aligned(event("a", "word1 lane"), b=[event("b", "word2 is blocked")])
    said = [
        made.infer([made.prepare(given)])[0]
        for made in (runtime_of(one, {"a": "text", "b": "text"}, "a", evidence=True) for one in (plain, more))
    ]
    assert said[0].heads is None
    assert "heads" not in (said[0].evidence or {})
    assert said[1].scores == pytest.approx(said[0].scores, abs=1e-4)
    assert {**(said[1].evidence or {}), "heads": None} == {**(said[0].evidence or {}), "heads": None}
    assert list(said[1].heads or {}) == ["alarms", "setpoint"]


def test_a_result_carries_what_heads_say_and_a_result_without_any_has_no_such_field() -> None:
    """As the schema has it; an empty list of labels is told."""
    runtime = runtime_of(model_of(inputs=("text",), input_names=("a",), heads=TOLD), {"a": "text"}, "a", evidence=True)
    one = aligned(event("a", "word1 lane"))
    verdict = runtime.infer([runtime.prepare(one)])[0]
    writer = ResultWriter("out", "dead", source="s", model_name="m", model_version="1")
    body = json.loads(writer.result(one, verdict).value or b"")
    made = ResultV1.model_validate(body)
    assert body["heads"] == verdict.heads
    assert body["heads"]["setpoint"].keys() == {"number", "low", "high", "unit"}
    assert made.evidence is not None
    assert made.evidence.heads is not None
    added = made.evidence.heads["setpoint"]["number"]
    assert added.base + sum(added.adds.values()) == pytest.approx(body["heads"]["setpoint"]["number"], abs=0.003)
    assert "heads" not in json.loads(writer.result(one, Verdict("x", 1.0, {"x": 1.0})).value or b"")


def test_what_is_measured_is_what_the_books_say() -> None:
    """Two samples of labels and three of a number, by hand."""
    alarms, setpoint = Heads(TOLD).each
    told = np.array([[0.5, 0.5], [0.3, 0.7], [0.9, 0.9]])
    one = HeadMeasured(alarms, told, np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]]))
    assert one.exact == pytest.approx(1 / 3)
    assert one.each.round(3).tolist() == [[1.0, 0.667, 0.8], [0.5, 1.0, 0.667]]
    assert one.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    number = HeadMeasured(
        setpoint, np.array([[20.0, 19, 21], [22.0, 21, 23], [21.0, 20, 25]]), np.array([[20.0], [25.0], [21.0]])
    )
    assert (number.mae, number.rmse) == (1.0, pytest.approx(3**0.5))
    assert number.r2 == pytest.approx(1 - 9 / 14)
    assert (number.inside.tolist(), number.band) == ([True, False, True], pytest.approx(3.0))


def test_programs_read_what_people_do() -> None:
    """`metrics.json` has of each head what its table has; by hand, of three samples."""
    config = model_of(inputs=("text",)).config
    config.heads = [one.told for one in (Head("room", "label", ("bath", "loft")), *Heads(TOLD).each)]
    columns = np.array([[2, 0, 0.0, 3, 1, -1, 2], [0, 2, -3, 3, 2, -1, 2], [2, 0, 3, 3, 0, 0.5, 2.0]])
    truth = np.array([[0, 1, 0, 1], [1, 1, 1, 3], [1, math.nan, math.nan, 0.0]])
    measured = Measured(np.eye(3), np.arange(3), 1.0, ("a", "b", "c"), columns=columns, targets=truth)
    made = told_of_heads(config, {"all": measured})
    assert {name: one.kind for name, one in made.items()} == {"room": "label", "alarms": "labels", "setpoint": "number"}
    room, alarms, number = (one.presence["all"].model_dump() for one in made.values())
    assert (room["n"], room["accuracy"]["value"]) == (3, 0.666667)
    assert (alarms["n"], alarms["accuracy"]["value"], alarms["macro_f1"]) == (2, 0.0, 0.666667)
    assert (number["n"], number["mae"], number["r2"], number["in_band"]["value"]) == (3, 0.666667, 0.785714, 0.666667)
    smoke, water = made["alarms"].labels.values()
    assert (smoke.n, smoke.threshold, smoke.precision, smoke.recall) == (2, 0.4, 1.0, 0.5)
    assert (water.n, water.threshold, water.precision, water.recall) == (1, 0.6, 0.5, 1.0)
    assert (made["room"].labels["bath"].threshold, made["setpoint"].labels) == (None, {})


def test_without_heads_nothing_is_told_of_them() -> None:
    """Neither rows nor another way to judge an epoch."""
    config = model_of(inputs=("text",)).config
    measured = Measured(np.eye(3), np.arange(3), 1.0, ("a", "b", "c"))
    assert head_rows(config, {"all": measured}) == []
    assert judged_by(config, measured) == measured.macro_f1 == 1.0


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ([{"name": "a b", "kind": "number"}], "name must be up to 48 letters"),
        ([{"name": "a", "kind": "colour"}], "kind 'colour': must be one of label, labels, number"),
        ([{"name": "a", "kind": "label", "labels": ["x", "x"]}], "labels: must be one or more, no two alike"),
        ([{"name": "a", "kind": "number", "std": 0}], "std and temperature must be above 0"),
        ([{"name": "a", "kind": "number"}] * 2, "no two may have one name"),
        ([{"name": "a", "kind": "number", "colour": 1}], "unknown field 'colour'"),
        ([{**TOLD[0], "thresholds": [0.1]}], "thresholds: must be one for each of labels"),
        ([{"name": "a", "kind": "number", "mean": float("nan")}], "must be finite numbers"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(told: list[dict[str, Any]], said: str) -> None:
    """By the head and what it may be."""
    with pytest.raises(ValueError, match=said):
        Heads(told)
