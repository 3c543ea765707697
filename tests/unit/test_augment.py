"""What training corrupts: as often as asked, by strengths that differ, alike for the same seed, anew in each epoch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tiny import write_tiny_model
from tests.unit.test_training import BACKBONE, arguments, folder, weights
from worker.feeds.junction import LABELS
from worker.model.encoders import ImageEncoder
from worker.model.items import Item
from worker.model.load import load
from worker.model.preprocess import Body, Preprocessor
from worker.training.augment import Augment
from worker.training.data import Samples
from worker.training.fit import Plan, fit
from worker.training.run import train
from worker.training.sources import junction_samples


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Forty scenes."""
    model, tokenizer = load(write_tiny_model(tmp_path_factory.mktemp("tiny")))
    drawn = list(junction_samples("train", 40, 3))
    return Samples(drawn, ["image", "text"], LABELS, model.config, Preprocessor(model.config, tokenizer))


def bodies(samples: Samples) -> list[tuple[Tensor, Tensor]]:
    """Pixels and tokens of each."""
    items: list[Item] = [samples[n][0] for n in range(len(samples))]
    return [(item.bodies[0][0], item.bodies[1][0]) for item in items]


def test_samples_are_spoiled_as_often_as_asked(samples: Samples) -> None:
    """None at 0, about half at a half; texts and images each for themselves."""
    plain, same = bodies(samples), bodies(samples.augmented(Augment(0.0), 1))
    assert all(
        torch.equal(a, b) for one, other in zip(plain, same, strict=True) for a, b in zip(one, other, strict=True)
    )
    corrupted = bodies(samples.augmented(Augment(0.5), 1))
    changed = [
        tuple(not torch.equal(a, b) for a, b in zip(*both, strict=True)) for both in zip(plain, corrupted, strict=True)
    ]
    assert {(True, False), (False, True), (True, True), (False, False)} == set(changed)
    assert 10 <= sum(image for image, _ in changed) <= 30
    assert all(torch.equal(a[0], b[0]) for a, b in zip(plain, bodies(samples), strict=True)), (
        "the samples themselves stay"
    )


def test_the_same_seed_spoils_alike_and_another_otherwise(samples: Samples) -> None:
    """Whatever the order in which samples are asked for."""
    one, other = samples.augmented(Augment(0.9), 7), samples.augmented(Augment(0.9), 7)
    assert torch.equal(one[5][0].bodies[0][0], [other[n] for n in (9, 5)][1][0].bodies[0][0])
    differs = [
        not torch.equal(a[0], b[0])
        for a, b in zip(bodies(one), bodies(samples.augmented(Augment(0.9), 8)), strict=True)
    ]
    assert sum(differs) > 30


def test_strengths_differ_and_the_picture_stays_one() -> None:
    """Dark is dark by many lights, noise by many deviations; shape, kind and layout are those of a decoded image."""
    image = torch.full((224, 224, 3), 120, dtype=torch.uint8).permute(2, 0, 1)
    made = [Augment(0.99).pixels(image, np.random.default_rng(n)) for n in range(200)]
    assert {(one.shape, one.dtype, one.stride()) for one in made} == {(image.shape, torch.uint8, image.stride())}
    flat = [one for one in made if one.float().std() == 0]
    lights = sorted({int(one[0, 0, 0]) for one in flat})
    assert lights[0] < 40
    assert len(lights) > 20
    deviations = sorted(float(one.float().std()) for one in made if (one[:, 0, 0] != 0).all() and one.float().std() > 0)
    assert deviations[0] < 5
    assert deviations[-1] > 30


def test_images_that_show_nothing_take_the_place_of_scenes(tmp_path: Path) -> None:
    """As often as asked, of a frozen backbone as their maps; texts and labels stay, and none is shown unasked."""
    model, tokenizer = load(write_tiny_model(tmp_path))
    rows = list(junction_samples("train", 60, 3))
    samples = Samples(rows, ["image", "text"], LABELS, model.config, Preprocessor(model.config, tokenizer))
    samples.show_blind(5)
    plain = bodies(samples)
    shown = bodies(samples.augmented(Augment(0.0, 0.5), 1))
    changed = [not torch.equal(a[0], b[0]) for a, b in zip(plain, shown, strict=True)]
    assert 18 <= sum(changed) <= 42
    assert all(torch.equal(a[1], b[1]) for a, b in zip(plain, shown, strict=True))
    assert {(one[0].shape, one[0].dtype) for one in shown} == {(plain[0][0].shape, torch.uint8)}
    encoder = model.encoders["image"]
    assert isinstance(encoder, ImageEncoder)
    assert samples.keep_maps(encoder)
    maps = bodies(samples.augmented(Augment(0.0, 0.5), 1))
    assert {one[0].shape[1:] for one in maps} == {(7, 7)}
    kept = bodies(samples)
    assert [not torch.equal(a[0], b[0]) for a, b in zip(kept, maps, strict=True)] == changed


def test_texts_get_typos_and_readings_gaps() -> None:
    """The rest of a reading, and bodies of other modalities, stay as they are."""
    text = Body(b"siren near the north arm, help is called for", "text/plain", "notes")
    reading = Body(b'{"by": "r2", "values": {"speed": 3, "count": [1, 2]}}', "application/json", "radar")
    augment = Augment(0.99)
    texts = {augment.body(text, "text", np.random.default_rng(n)).payload for n in range(50)}
    assert len(texts) > 30
    readings = [json.loads(augment.body(reading, "sensor", np.random.default_rng(n)).payload) for n in range(50)]
    assert {one["by"] for one in readings} == {"r2"}
    assert {one["values"]["speed"] for one in readings} == {3, None}
    assert {str(one["values"]["count"]) for one in readings} == {"[1, 2]", "None"}
    field = Body(b'{"values": [3, 4]}', "application/json", "radar")  # A field that is called so.
    assert {augment.body(field, "sensor", np.random.default_rng(n)).payload for n in range(9)} >= {b'{"values": null}'}
    sound = Body(b"RIFF", "audio/wav", "mic")
    assert augment.body(sound, "audio", np.random.default_rng(1)) == sound


def test_who_trains_on_shows_nothing_as_often(tmp_path: Path) -> None:
    """A pruned model is trained on by the plan that it was trained by, whose blind images nobody has drawn then."""
    model, tokenizer = load(write_tiny_model(tmp_path / "m"))
    rows = list(junction_samples("train", 8, 3))
    samples = Samples(rows, ["image", "text"], LABELS, model.config, Preprocessor(model.config, tokenizer))
    fit(model, samples, samples, Plan(epochs=1, batch=4, blind=0.5), tmp_path / "run", lambda *_: None)
    assert not torch.equal(bodies(samples)[0][0], bodies(samples.augmented(Augment(0.0, 0.99), 1))[0][0])


@pytest.mark.long
def test_training_takes_the_share(tmp_path: Path) -> None:
    """Two shares, two models; the default corrupts."""
    data = folder(tmp_path)
    common = ("--data", str(data), *BACKBONE, "--batch", "4", "--epochs", "1")
    for out, given in {"default": (), "half": ("--augment", "0.5"), "none": ("--augment", "0")}.items():
        train(arguments("--out", str(tmp_path / out), *common, *given))
    default, half, none = (weights(tmp_path / out) for out in ("default", "half", "none"))
    assert all(torch.equal(default[name], half[name]) for name in default)
    assert not all(torch.equal(default[name], none[name]) for name in default)
