"""Explanations: what is attributed adds up, hiding hides, and deletion tells a true ground from a false."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import write_tiny_model
from worker.explain.attribution import EXACT, MOST_STEPS, STEPS, Attribution, attribute
from worker.explain.deletion import deletions
from worker.explain.drawing import caption, opacity, scale_of
from worker.explain.files import write_explanation
from worker.explain.ground import GRID, Ground, Probe, grounds_of
from worker.feeds.junction import scene
from worker.feeds.sounds import wav_file
from worker.model.folder import SHIPPED
from worker.model.fusion_model import FusionModel
from worker.model.items import Item
from worker.model.load import for_serving, load
from worker.model.preprocess import Body, Preprocessor
from worker.records import Verdict

INPUTS = ("image", "text", "sensor", "audio")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of every modality."""
    return write_tiny_model(tmp_path_factory.mktemp("model"), INPUTS, times=True)


@pytest.fixture(scope="module")
def case(folder: Path) -> tuple[FusionModel, list[Ground], Item]:
    """One moment in all modalities, with two images."""
    model, tokenizer = load(folder)
    made = scene(np.random.default_rng(3))
    reads = Preprocessor(model.config, tokenizer)
    image, other = (Body(scene(np.random.default_rng(n)).image, "image/jpeg", "s") for n in (3, 4))
    given = {
        "image": [image, other],
        "text": [Body(f"{made.text} tuktuk".encode(), "text/plain", "s")],
        "sensor": [Body(json.dumps({"speed": [3.0, None, 1.0], "count": 2}).encode(), "application/json", "s")],
        "audio": [Body(wav_file(np.sin(np.arange(8000) / 5) / 4, 16_000), "audio/wav", "s")],
    }
    item = Item(tuple(reads.tensors(modality, given[modality]) for modality in INPUTS))
    served = for_serving(model, torch.device("cpu"), torch.float32)
    return served, grounds_of(item, model.config, INPUTS, tokenizer), item


def test_attributions_sum_to_what_the_input_changed(case: tuple[FusionModel, list[Ground], Item]) -> None:
    """Of each modality: p(value) - p(baseline), as integrated gradients promise."""
    model, grounds, _ = case
    probe = Probe(model, grounds, 1)
    assert [ground.name for ground in grounds] == list(INPUTS)
    for ground in grounds:
        with torch.inference_mode():
            rise = probe({ground.number: torch.stack([ground.value, ground.baseline])})
        made = attribute(model, probe, ground)
        # Pixels that are never hidden have nothing to say: value and baseline are the same there.
        assert float(made.units.sum()) == pytest.approx(float(rise[0] - rise[1]), abs=5e-3)
        assert made.gap < 5e-3


def test_the_probe_is_the_model(case: tuple[FusionModel, list[Ground], Item], folder: Path) -> None:
    """Nothing changed, it gives the score that serving gives."""
    from worker.model.runtime import ModelRuntime

    model, grounds, item = case
    served = ModelRuntime(
        path=str(folder), device="cpu", precision="fp32", anchor="text", modalities={name: name for name in INPUTS}
    )
    verdict = served.infer([item])[0]
    for number, label in enumerate(served.labels):
        ground = grounds[0]
        found = float(Probe(model, grounds, number)({ground.number: ground.value[None]})[0])
        assert found == pytest.approx(verdict.scores[label], abs=2e-4)


def test_hiding_changes_the_named_units_and_nothing_else(case: tuple[FusionModel, list[Ground], Item]) -> None:
    """One unit, all units and no unit, of each modality."""
    for ground in case[1]:
        assert torch.equal(ground.without([]).nan_to_num(-1.0), ground.value.nan_to_num(-1.0))
        gone = ground.without(range(len(ground.names)))
        assert torch.equal(gone.nan_to_num(-1.0), ground.baseline.nan_to_num(-1.0))
        one = ground.without([1])
        touched = one.nan_to_num(-1.0) != ground.value.nan_to_num(-1.0)
        assert touched.any()
        assert set(ground.units[touched].tolist()) == {1}
    image, text, *_ = case[1]
    assert len(image.names) == 2 * GRID**2
    assert not [name for name in text.names if name.startswith("##")]
    assert int((text.units >= 0).sum()) > len(text.names), "some word here has several pieces, all of one unit"


@pytest.mark.long
def test_deletion_tells_a_true_ground_from_a_false_one() -> None:
    """Of an image: what weighed most hidden first ends the verdict of the model that ships sooner, last later."""
    served, probe, image = shipped(3, "accident")
    found = attribute(served, probe, image)
    true, false = (deletions(probe, [replace(found, values=sign * found.values)], 7)[0] for sign in (1.0, -1.0))
    assert true.area < true.random_area < false.area
    assert true.random == false.random
    assert true.curve[0] == pytest.approx(false.curve[0], abs=1e-5)
    assert true.curve[-1] == pytest.approx(false.curve[-1], abs=1e-5)


@pytest.mark.long
def test_files_are_written_and_can_be_looked_at(
    case: tuple[FusionModel, list[Ground], Item], folder: Path, tmp_path: Path
) -> None:
    """A picture an image, bars for the others, the curves, and the numbers behind them."""
    said: list[str] = []
    label = case[0].config.id2label[1]
    verdict = Verdict(label, 0.5, {label: 0.5}, None, {"alone": {}})
    write_explanation(tmp_path / "out", str(folder), "cpu", INPUTS, case[2], verdict, {"result": {}}, 0, said.append)
    told = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert told["files"] == ["image-1.png", "image-2.png", "text.png", "sensor.png", "audio.png", "deletion.png"]
    for name in told["files"]:
        with Image.open(tmp_path / "out" / name) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert min(pixels.shape[:2]) > 150
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    assert set(told["deletion"]) == {*INPUTS, "all"}
    assert any(line.startswith("deletion of all: 0.") and "(random 0." in line for line in said)
    assert told["evidence"] == {"alone": {}}
    assert isinstance(told["attributions"]["text"]["strongest"][0][0], str)


def test_an_attribution_belongs_to_its_unit() -> None:
    """What lies on no unit is not told as another's."""
    units = torch.tensor([[-1, 0, 0, 1]])
    ground = Ground(0, "texts", "text", torch.arange(4)[None], torch.zeros(1, 4), units, ("a", "b"))
    made = Attribution(ground, torch.tensor([[9.0, 1.0, 2.0, 4.0]]), 7.0, 0.0, 64)
    assert made.units.tolist() == [3.0, 4.0]


def shipped(seed: int, label: str) -> tuple[FusionModel, Probe, Ground]:
    """The model that ships, asked for the verdict on a drawn scene; and the scene's image."""
    model, tokenizer = load(SHIPPED)
    made = scene(np.random.default_rng(seed), label)
    reads = Preprocessor(model.config, tokenizer)
    bodies = {"image": Body(made.image, "image/jpeg", "s"), "text": Body(made.text.encode(), "text/plain", "s")}
    item = Item(tuple(reads.tensors(name, (bodies[name],)) for name in model.config.inputs))
    served = for_serving(model, torch.device("cpu"), torch.float32)
    grounds = grounds_of(item, model.config, model.config.inputs, tokenizer)
    image = next(ground for ground in grounds if ground.modality == "image")
    return served, Probe(served, grounds, model.config.label2id[label]), image


@pytest.mark.long
def test_an_image_that_changes_nothing_is_said_to_explain_nothing() -> None:
    """An empty road gives its label with nothing on it: no square of its picture is painted as if it did."""
    model, probe, image = shipped(1000, "free_flow")
    made = attribute(model, probe, image)
    assert "nothing here explains it" in caption(made)
    assert opacity(made.units, scale_of(made)).max() < 0.3
    crash, asked, frame = shipped(1006, "accident")
    found = attribute(crash, asked, frame)
    assert "red speaks for the label" in caption(found)
    assert opacity(found.units, scale_of(found)).max() > 0.7


@pytest.mark.long
def test_points_are_added_until_the_sum_is_exact() -> None:
    """A probability that jumps on its way takes more than the fewest points."""
    model, probe, image = shipped(1002, "accident")
    made = attribute(model, probe, image)
    assert made.steps > STEPS
    assert made.gap <= EXACT or made.steps == MOST_STEPS
    assert float(made.values.sum()) == pytest.approx(made.rise, abs=made.gap + 1e-4)
