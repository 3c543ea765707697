"""A model with four heads, trained, exported and served by real workers: what they publish is what the model says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import heads as house
from tests.story import minutes_ago
from tests.town import Town, town
from worker.cli import main
from worker.model.runtime import ModelRuntime
from worker.records import Aligned, Event, Record, Verdict
from worker.stages.publish import rfc3339

STREAMS = {"notes": "text", "climate": "sensor"}
SENSOR = {"modality": "sensor", "role": "context", "match": "latest", "before": "2s", "max_wait": "500ms"}
KINDS = {"notes": "text/plain", "climate": "application/json"}
ROWS = 96
STARTED_SECONDS = 180.0  # Torch and a model beside other programs.

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By form: a trained model, and what `export` made of it, past its gate."""
    folder = tmp_path_factory.mktemp("heads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(house, "ROWS", dict.fromkeys(house.ROWS, ROWS))
        data = str(house.write(folder / "data"))
    made = ("--epochs", "4", "--dim", "96", "--augment", "0", "--head", "setpoint=number:C")
    assert main(["train", "--data", data, "--out", str(folder / "own"), *made]) == 0
    told = ("--model", str(folder / "own"), "--out", str(folder / "made"), "--to", "onnx,int8", "--rounds", "1")
    assert main(["export", *told, "--data", data, "--max-drop", "0.2", "--max-ece-rise", "0.2"]) == 0
    return {"own": folder / "own", **{kind: folder / "made" / kind for kind in ("onnx", "int8")}}


def rows(count: int) -> list[dict[str, Any]]:
    """Moments that no split has."""
    return list(house.moments(99, count))


def bodies(row: dict[str, Any]) -> dict[str, bytes]:
    """By stream."""
    note, climate = row["inputs"]["notes"][0]["text"], row["inputs"]["climate"]
    return {"notes": note.encode(), "climate": json.dumps(climate).encode()}


def fed(made: Town, moments: Sequence[dict[str, Any]], at_us: int) -> None:
    """A reading and 100 ms later a note, each moment of a key of its own; and a later reading that ends all waits."""
    for number, row in enumerate(moments):
        told = bodies(row)
        for stream, after, body in (
            ("climate", -100_000, told["climate"]), ("notes", 0, told["notes"]), ("climate", 1, told["climate"])
        ):  # fmt: skip
            headers = [
                ("ce_specversion", b"1.0"), ("ce_id", f"{stream}{number}{after}".encode()), ("ce_source", b"/s"),
                ("ce_type", b"t"), ("ce_time", rfc3339(at_us + after).encode()),
                ("content-type", KINDS[stream].encode()),
            ]  # fmt: skip
            made.send(stream, f"k{number}", body, headers)
    made.flush()


def asked(folder: Path, moments: Sequence[dict[str, Any]]) -> list[Verdict]:
    """What the model says, called directly."""
    runtime = ModelRuntime(
        path=str(folder), device="cpu", precision="auto", anchor="notes", modalities=STREAMS, evidence=True
    )
    said = []
    for row in moments:
        events = {
            stream: Event(stream, "k", stream, "s", at, KINDS[stream], body, Record(stream, 0, 0, 0, b"k", body))
            for (stream, body), at in zip(bodies(row).items(), (1_000_000, 900_000), strict=True)
        }
        one = Aligned(events["notes"], {"climate": (events["climate"],)}, {}, True)
        said += runtime.infer([runtime.prepare(one)])
    return said


def settings(folder: Path) -> dict[str, Any]:
    """Of a worker with this model."""
    return {"model": {"path": str(folder)}, "output": {"evidence": True}}


@pytest.mark.parametrize("form", ["onnx", "int8"])
def test_workers_publish_what_the_model_says(stack: Any, tmp_path: Path, models: dict[str, Path], form: str) -> None:
    """Through Kafka and Valkey every head of every result is that of the exported model called directly, its evidence
    sums up, and in fp32 it is what the trained model says; the metrics count it."""
    moments = rows(12)
    with town(stack, tmp_path, {"notes": 2, "climate": 2}, cost_ms=None, **settings(models[form])) as made:
        made.settings["streams"] = {
            "notes": {"topic": f"{made.name}.notes", "modality": "text", "role": "anchor"},
            "climate": {"topic": f"{made.name}.climate", **SENSOR},
        }
        fed(made, moments, minutes_ago(5))
        made.start()
        made.read_until(lambda: len(made.results) >= len(moments), STARTED_SECONDS)
        metrics = made.metrics()
        assert made.stop() == [0]
        assert not made.dead
    results = {one["key"]: one for one in made.results}
    direct, own = asked(models[form], moments), asked(models["own"], moments)
    for number, (one, original) in enumerate(zip(direct, own, strict=True)):
        result = results[f"k{number}"]
        assert "climate" in result["inputs"]
        assert result["label"] == one.label
        assert_alike(result["heads"], one.heads or {}, 0.002)
        if form == "onnx":
            assert_alike(result["heads"], original.heads or {}, 0.01)
        added = result["evidence"]["heads"]
        assert_alike(added, (one.evidence or {})["heads"], 0.002)
        setpoint = added["setpoint"]["number"]
        whole = setpoint["base"] + sum(setpoint["adds"].values())
        assert whole == pytest.approx(result["heads"]["setpoint"]["number"], abs=0.01)
        assert list(added["alarms"]) == result["heads"]["alarms"]["labels"]
    told = sum(len(one["heads"]["alarms"]["labels"]) for one in made.results)
    assert told == sum(
        float(line.rpartition(" ")[2]) for line in metrics.splitlines()
        if line.startswith("fusion_head_labels_total{") and 'head="alarms"' in line
    )  # fmt: skip
    assert 'fusion_head_number{head="setpoint"}' in metrics
    assert 'fusion_head_band_width{head="setpoint"}' in metrics


def assert_alike(found: Any, wanted: Any, off: float) -> None:
    """The same names and words, and numbers that lie this near."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name, one in wanted.items():
            assert_alike(found[name], one, off)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=off)
    else:
        assert found == wanted
