"""A model knows its inputs by name: order changes nothing, what is not sure is refused with both lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.served import aligned, event, model_of, runtime_of
from worker.errors import ConfigError
from worker.model.config import FusionConfig
from worker.model.inputs import data_of_inputs, streams_of_inputs
from worker.settings import load
from worker.training.sources import read

CAMERAS = FusionConfig(inputs=["image", "image", "text"], input_names=["north", "south", "notes"])
NAMELESS = FusionConfig(inputs=["image", "image", "text"])
SHIPPED = FusionConfig(inputs=["image", "text"], input_names=["image", "text"])
TEXTS = {"notes": "text"}


@pytest.mark.parametrize(
    ("config", "streams", "mapped", "wanted"),
    [
        (CAMERAS, {"north": "image", "south": "image", **TEXTS}, {}, [["north"], ["south"], ["notes"]]),
        (CAMERAS, {**TEXTS, "south": "image", "north": "image"}, {}, [["north"], ["south"], ["notes"]]),
        (CAMERAS, {"south": "image", **TEXTS}, {}, [[], ["south"], ["notes"]]),
        (CAMERAS, {"south": "image", "calls": "text"}, {}, [[], ["south"], ["calls"]]),
        (CAMERAS, {"a": "image", "b": "image"}, {"a": "south", "b": "north"}, [["b"], ["a"], []]),
        (CAMERAS, {"a": "image", "north": "image"}, {"a": "north", "north": "south"}, [["a"], ["north"], []]),
        (CAMERAS, {"west": "image", "south": "image"}, {"west": "south"}, [[], ["south", "west"], []]),
        (NAMELESS, {"a": "image", "b": "image", **TEXTS}, {"a": "image_2", "b": "image_1"}, [["b"], ["a"], ["notes"]]),
        (SHIPPED, {"texts": "text", "frames": "image"}, {}, [["frames"], ["texts"]]),
        (SHIPPED, {"text": "text"}, {}, [[], ["text"]]),
    ],
)  # fmt: skip
def test_streams_find_their_inputs(
    config: FusionConfig, streams: Mapping[str, str], mapped: Mapping[str, str], wanted: list[list[str]]
) -> None:
    """By [model.inputs], by name, or by modality where there is one of each; never by order."""
    assert streams_of_inputs(config, streams, mapped) == wanted


@pytest.mark.parametrize(
    ("config", "streams", "mapped", "message"),
    [
        (CAMERAS, {"a": "image", "south": "image"}, {},
         r"^streams.a: feeds no input of the model, whose inputs are north \(image\), south \(image\), notes \(text\); "
         r"the streams are a \(image\), south \(image\); .*\[model.inputs\].*a = 'north'"),
        (NAMELESS, {"north": "image", "south": "image"}, {}, r"inputs are image_1 \(image\), image_2 \(image\), text"),
        (NAMELESS, {"north": "image"}, {}, r"streams.north: feeds no input"),
        (SHIPPED, {"left": "image", "right": "image"}, {}, r"streams.left: feeds no input.*left = 'image'"),
        (CAMERAS, {"north": "text", "south": "image"}, {}, r"streams.north: feeds no input"),
        (CAMERAS, {"a": "text"}, {"a": "north"}, r"streams.a: feeds no input"),
        (CAMERAS, {"a": "image"}, {"a": "nort"}, r"model.inputs.a = 'nort': the model's inputs are north \(image\)"),
        (SHIPPED, {"radar": "sensor"}, {},
         r"streams.radar.modality = 'sensor': none of the model's inputs, image \(image\), text \(text\), is of it; "
         r"the streams are radar \(sensor\)"),
    ],
)  # fmt: skip
def test_what_is_not_sure_is_refused(
    config: FusionConfig, streams: Mapping[str, str], mapped: Mapping[str, str], message: str
) -> None:
    """With both lists and the way out, exit 2; nothing is guessed."""
    with pytest.raises(ConfigError, match=message) as caught:
        streams_of_inputs(config, streams, mapped)
    assert caught.value.exit_code == 2


def test_data_finds_the_inputs_too() -> None:
    """Whatever its order; with others beside them where that is asked for; both lists where it does not."""
    found = data_of_inputs(CAMERAS, {"notes": "text", "south": "image", "north": "image"}, what="--model m")
    assert found == ["north", "south", "notes"]
    assert data_of_inputs(SHIPPED, {"frames": "image", "calls": "text"}, what="") == ["frames", "calls"]
    radar = {"frames": "image", "calls": "text", "radar": "sensor"}
    assert data_of_inputs(SHIPPED, radar, what="", more=True) == ["frames", "calls"]
    for config, data, told in (
        (SHIPPED, radar, "both must have the same names"),
        (SHIPPED, {"calls": "text"}, "both must have the same names"),
        (CAMERAS, {"east": "image", "south": "image", "notes": "text"}, "both must have the same names"),
        (NAMELESS, {"north": "image", "south": "image", "notes": "text"}, "add input_names"),
    ):
        given = r", ".join(rf"{name} \({modality}\)" for name, modality in data.items())
        with pytest.raises(ConfigError, match=rf"^--model m: the model's inputs are .*; --data has {given}; .*{told}"):
            data_of_inputs(config, data, what="--model m")


def test_names_must_fit_the_inputs() -> None:
    """One each, no two alike."""
    for names in (["a"], ["a", "a"]):
        with pytest.raises(ValueError, match="input_names"):
            FusionConfig(inputs=["image", "text"], input_names=names)


def test_another_order_in_the_configuration_changes_no_verdict() -> None:
    """Two sensors of one shape, in either order: the evidence names who says what, and it is the same."""
    model = model_of(inputs=["sensor", "sensor"], input_names=["door", "oven"], channels=["heat"])
    anchor = event("door", '{"heat": 4}')
    some = aligned(anchor, oven=[event("oven", '{"heat": -3}')])
    told = []
    for streams in ({"door": "sensor", "oven": "sensor"}, {"oven": "sensor", "door": "sensor"}):
        asked = runtime_of(model, streams, "door", evidence=True)
        told.append(asked.infer([asked.prepare(some)])[0])
    assert told[0] == told[1]
    swapped = runtime_of(model, {"door": "sensor", "oven": "sensor"}, "door", {"door": "oven", "oven": "door"})
    assert swapped.infer([swapped.prepare(some)])[0].embedding != told[0].embedding


def test_another_order_in_the_data_changes_no_input(tmp_path: Path) -> None:
    """Rows that name south first, and rows that name north first, are read alike."""
    for name, order in (("one", ["south", "north"]), ("two", ["north", "south"])):
        (tmp_path / name).mkdir()
        row = {
            "inputs": {one: [{"text": one}] for one in order}, "modalities": dict.fromkeys(order, "text"), "label": "x"
        }  # fmt: skip
        (tmp_path / name / "test.jsonl").write_text(json.dumps(row))
    one, two = (read(str(tmp_path / name), 0, 0, ["test"]) for name in ("one", "two"))
    assert list(one.inputs) == list(two.inputs) == ["north", "south"]
    assert list(one.fitting(FusionConfig(inputs=["text"] * 2, input_names=["south", "north"]), "").inputs) == [
        "south", "north",
    ]  # fmt: skip


def test_the_configuration_maps_streams(tmp_path: Path) -> None:
    """[model.inputs] in the file, the environment and --set; only streams can be mapped."""
    file = tmp_path / "fusion.toml"
    file.write_text('[model.inputs]\ntexts = "calls"\n')
    for north, notes in (("north", "notes"), ('"north"', "'notes'")):
        loaded = load(file, [f"model.inputs.frames={north}"], {"FUSION__MODEL__INPUTS__TEXTS": notes})
        assert loaded.settings.model.inputs == {"texts": "notes", "frames": "north"}
    assert loaded.origin["model.inputs.texts"] == "environment FUSION__MODEL__INPUTS__TEXTS"
    for text, message in (
        ('[model.inputs]\ntext = "x"', r"model.inputs.text \(.*\): unknown key; did you mean model.inputs.texts"),
        ("[model.inputs]\ntexts = 5", r"model.inputs.texts = 5 .*must be the name of an input of the model"),
        ("[model]\ninputs = 5", r"model.inputs \(.*\): must be a table"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load(file, [], {})
