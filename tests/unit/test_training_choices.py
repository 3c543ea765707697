"""Which epoch is kept, what a run does not write over, which rates it has, and what its tables count."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from tests.unit.test_training import BACKBONE, arguments, evaluation, folder, weights
from worker.errors import ConfigError
from worker.feeds.junction import LABELS, scene
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.model.load import load
from worker.model.preprocess import NO_TOKEN, Body, Preprocessor
from worker.training import fit
from worker.training.build import build
from worker.training.data import Samples
from worker.training.encoders import (
    groups,
    image_backbone,
    is_frozen,
    merge,
    part_of,
    rates_of,
    text_encoder,
    tune,
    tuning_of,
)
from worker.training.evaluate import Measured
from worker.training.evaluation import evaluate
from worker.training.run import plan_of_run, train
from worker.training.sources import read
from worker.training.vocabulary import learn_vocabulary

TINY_TEXT = {
    "model_type": "bert", "vocab_size": 99, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16,
}  # fmt: skip
SMALL = ("--dim", "32", "--batch", "8", "--augment", "0", "--modality-dropout", "0")


def readings(path: Path, count: int = 24, labels: Sequence[str] = ("calm", "busy")) -> Path:
    """A sensor and notes, each of which lacks every fifth sample; the label lies in both."""
    rng = np.random.default_rng(3)
    path.mkdir(exist_ok=True)
    for split in ("train", "dev", "test"):
        rows = []
        for n in range(count):
            name, value = labels[n % len(labels)], float(n % len(labels))
            inputs: dict[str, Any] = {}
            if n % 5 != 1:
                inputs["radar"] = {"speed": value + rng.normal(0, 0.5)}
            if n % 5 != 3:
                inputs["notes"] = {"text": f"the road is {name}" if rng.random() < 0.8 else "the road"}
            rows.append({"inputs": inputs, "modalities": {"radar": "sensor", "notes": "text"}, "label": name})
        (path / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_the_epoch_with_the_best_macro_f1_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the one that says the commonest label of all and so has the better accuracy."""
    data, seen = readings(tmp_path / "data"), []
    truth = np.array([0] * 9 + [1])
    said = [np.zeros(10, int), np.array([0] * 6 + [1] * 4), np.zeros(10, int)]

    def measured(model: Any, *_: object) -> Measured:
        seen.append({name: one.clone() for name, one in model.state_dict().items()})
        return Measured(np.eye(2)[said[len(seen) - 1]], truth, 1.0, ("busy", "calm"))

    monkeypatch.setattr(fit, "measure", measured)
    train(arguments("--data", str(data), "--out", str(tmp_path / "out"), *SMALL, "--epochs", "3"))
    kept = weights(tmp_path / "out")
    assert all(torch.equal(kept[name], one) for name, one in seen[1].items())


def test_a_model_is_written_over_only_when_that_is_asked_for(tmp_path: Path) -> None:
    """The second run into a folder is refused before it reads the data, and with --overwrite it is not."""
    data, out = readings(tmp_path / "data"), tmp_path / "out"
    given = ("--out", str(out), *SMALL, "--epochs", "1")
    train(arguments("--data", str(data), *given))
    config = json.loads((out / "config.json").read_text())
    assert set(config["calibrations"]) == {"1", "2", "3"}
    with pytest.raises(ConfigError, match=r"--out .*out: holds a model already; name another folder, or give --overw"):
        train(arguments("--data", str(tmp_path / "nowhere"), *given))
    assert train(arguments("--data", str(data), *given, "--name", "newer", "--overwrite")) == 0
    assert json.loads((out / "config.json").read_text())["name"] == "newer"


def test_an_encoder_with_weights_of_its_own_has_a_rate_of_its_own(tmp_path: Path) -> None:
    """A hundredth of the others', or what is given; and what has one dimension does not decay."""
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    tokenizer = learn_vocabulary(["a b c"], 300)
    tokenizer.save_pretrained(tmp_path / "bert")
    BertModel(BertConfig(vocab_size=len(tokenizer), **text)).save_pretrained(tmp_path / "bert")
    data = read(str(folder(tmp_path, 4)), 0, 0)
    for more, rate in (((), 2e-5), (("--encoder-rate", "0.1"), 0.1)):
        given = arguments("--out", "x", *BACKBONE, "--text", str(tmp_path / "bert"), *more)
        built = build(given, data)
        plan = plan_of_run(given, Samples(data.splits["train"], list(data.inputs), data.labels, built.model.config,
                                    built.preprocessor), built)  # fmt: skip
        assert built.held == plan.held == ("text",)
        found = {
            one: (group["lr"], group["weight_decay"])
            for group in groups(built.model, plan.held, plan.learning_rate, plan.encoder_rate)
            for one in group["params"]
        }
        assert len(found) == len(list(built.model.parameters()))
        for name, one in built.model.named_parameters():
            slow = name.startswith("encoders.text.encoder.")
            assert found[one] == (rate if slow else 2e-3, 0.0 if one.ndim == 1 else 0.01), name


@pytest.mark.parametrize(
    ("how", "held", "rate"),
    [
        ("full", ["image", "text"], 0.02),
        ("lora", ["image", "text"], 0.2),
        ("image=lora,text=full", ["image", "text"], {"image": 0.2, "text": 0.02}),
        ("text=lora", ["image", "text"], {"image": 0.02, "text": 0.2}),
        ("text=lora", ["image"], 0.02),
        ("image=frozen,text=lora", ["image", "text"], 0.2),
    ],
)
def test_each_encoder_has_the_rate_of_how_it_is_tuned(
    how: str, held: list[str], rate: float | dict[str, float]
) -> None:
    """One number where all that are trained have the same, as configurations of before have it; the optimizer has
    each, and a model that is pruned is trained on at a share of each, as its configuration tells it."""
    told = rates_of(held, how, 2.0)
    assert told == pytest.approx(rate)
    model = FusionModel(FusionConfig(backbone=BACKBONE[1], dim=32, num_labels=2, text=TINY_TEXT))
    each = rate if isinstance(rate, dict) else dict.fromkeys(held, rate)
    tune(model, held, how, 0)
    found = {one: group["lr"] for group in groups(model, held, 2.0, told) for one in group["params"]}
    for name in ("image", "text"):
        own = [found[one] for one in part_of(model, name).parameters() if one.requires_grad]
        assert own == pytest.approx([each[name] if name in held else 2.0] * len(own))
    kept = json.loads(json.dumps(asdict(fit.Plan(learning_rate=2.0, encoder_rate=told, held=tuple(held)))))
    slower = fit.plan_of(kept).slower(0.1).encoder_rate
    assert slower == pytest.approx({n: 0.1 * one for n, one in rate.items()} if isinstance(rate, dict) else 0.1 * rate)


def test_lora_reaches_the_pointwise_convolutions_of_lite0(tmp_path: Path) -> None:
    """All of them; untrained it computes what the backbone did, trained and merged it is the plain model again."""
    given = ("--out", "x", "--dim", "64", "--backbone", "efficientnet_lite0", "--inputs", "image", "--encoders")
    data = read(str(folder(tmp_path, 4)), 0, 0).only(["image"])
    plain, adapted = (build(arguments(*given, how), data).model.eval() for how in ("frozen", "lora"))
    pixels = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        maps = [one.encoders["image"].maps(pixels) for one in (plain, adapted)]
    torch.testing.assert_close(*maps)
    pointwise = [
        name for name, one in image_backbone(plain).named_modules()
        if isinstance(one, torch.nn.Conv2d) and one.kernel_size == (1, 1)
    ]  # fmt: skip
    assert len(pointwise) > 30
    for name, one in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(one)
    merge(adapted)
    before, after = plain.state_dict(), adapted.state_dict()
    assert before.keys() == after.keys()
    for name in pointwise:
        key = f"encoders.image.backbone.{name}.weight"
        assert not torch.equal(before[key], after[key]), name


def test_each_encoder_may_be_trained_its_own_way(tmp_path: Path) -> None:
    """A word for all, or one for each; what is none is told."""
    data = read(str(folder(tmp_path, 4)), 0, 0)
    given = ("--out", "x", "--dim", "64", "--text", "minilm", "--backbone", "efficientnet_lite0", "--encoders")
    model = build(arguments(*given, "image=frozen,text=lora"), data).model
    assert is_frozen(image_backbone(model))
    assert {name.split(".")[-2] for name, one in text_encoder(model).named_parameters() if one.requires_grad} == {
        "default"
    }
    assert model.config.packages
    assert [tuning_of("lora", "text"), tuning_of("image=frozen", "text"), tuning_of("image=frozen", "image")] == [
        "lora", "full", "frozen",
    ]  # fmt: skip
    for wrong in ("some", "image=some", "sound=lora", "frozen,lora", "image=frozen,lora"):
        with pytest.raises(SystemExit):
            arguments(*given, wrong)


def test_lora_is_refused_where_it_would_reach_nothing(tmp_path: Path) -> None:
    """An encoder of 3x3 convolutions alone would stay as it is in silence."""
    data = read(str(folder(tmp_path, 4)), 0, 0)
    model = build(arguments("--out", "x", *BACKBONE), data).model
    model.encoders["image"].backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3))
    with pytest.raises(ConfigError, match="--encoders lora: the image encoder has neither linear layers nor 1x1"):
        tune(model, ["image"], "lora", 0)


def test_full_training_leaves_minilm_its_meaning(tmp_path: Path) -> None:
    """At the default rates paraphrases stay nearer than strangers, after as many steps as undid it at one rate."""
    data, rng = tmp_path / "data", np.random.default_rng(1)
    data.mkdir()
    for split, count in (("train", 64), ("dev", 4), ("test", 4)):
        made = [scene(rng, LABELS[n % 4]) for n in range(count)]
        rows = [json.dumps({"text": one.text, "label": one.label}) for one in made]
        (data / f"{split}.jsonl").write_text("\n".join(rows))
    given = ("--text", "minilm", "--dim", "64", "--batch", "8", "--epochs", "2", "--augment", "0", "--max-tokens", "12")
    train(arguments("--data", str(data), "--out", str(tmp_path / "out"), *given))
    model, tokenizer = load(tmp_path / "out")
    pairs = (
        ("a man is playing a guitar", "someone plays an instrument"),
        ("it rains heavily today", "there is a downpour right now"),
        ("the cat sleeps on the sofa", "a kitten is napping on the couch"),
    )
    preprocessor = Preprocessor(model.config, tokenizer)
    meanings = []
    with torch.inference_mode():
        for text in (text for pair in pairs for text in pair):
            ids = preprocessor.tensors("text", [Body(text.encode(), "text/plain", "text")])[0][None]
            mask = ids != NO_TOKEN
            hidden = text_encoder(model.eval())(input_ids=ids.clamp(min=0), attention_mask=mask.long())[0]
            meanings.append(torch.nn.functional.normalize((hidden * mask[..., None]).sum(1)[0], dim=0))
    near = torch.stack(meanings[::2]) @ torch.stack(meanings[1::2]).T
    strangers = near[~torch.eye(len(pairs), dtype=torch.bool)]
    assert float(near.diag().min()) > float(strangers.max()) + 0.1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--image-size", "160"), r"gives a map of 5x5 for 160 pixels, not 7x7"),
        (("--mels", "129"), r"argument --mels: '129' is not a whole number from 1 to 128"),
        (("--audio-seconds", "0"), r"argument --audio-seconds: '0' is not a number of seconds from 0.1 to 60"),
        (("--dropout", "1"), r"argument --dropout: '1' is not a number from 0 to below 1"),
        (("--max-steps", "0"), r"argument --max-steps: '0' is not a whole number from 1 to 100000"),
    ],
)
def test_what_no_model_can_have_is_refused(
    tmp_path: Path, given: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the option's name, with what it may be."""
    data = read(str(folder(tmp_path, 4)), 0, 0)
    with pytest.raises((ConfigError, SystemExit)) as refused:
        build(arguments("--out", "x", *BACKBONE, *given), data)
    told = str(refused.value) if isinstance(refused.value, ConfigError) else capsys.readouterr().err
    assert re.search(message, told)


def test_shapes_are_set_from_the_command_line(tmp_path: Path) -> None:
    """A model of another image size, length of series and sound, and dropout is built so, and saved."""
    data = read(str(folder(tmp_path, 4)), 0, 0)
    given = ("--image-size", "200", "--max-steps", "5", "--audio-seconds", "0.5", "--mels", "20", "--dropout", "0.4")
    model = build(arguments("--out", "x", *BACKBONE, *given), data).model
    config = model.config
    assert (config.image_size, config.max_steps, config.audio_seconds, config.mels) == (200, 5, 0.5, 20)
    assert model.dropout.p == config.dropout == 0.4


def test_tables_count_the_samples_that_have_the_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each row its own n, the same for both models of --against; every sample under its own name."""
    data = ("--data", str(readings(tmp_path / "data", 40)))
    given = (*SMALL, "--epochs", "1")
    train(arguments(*data, "--out", str(tmp_path / "both"), *given))
    train(arguments(*data, "--out", str(tmp_path / "radar"), *given, "--inputs", "radar"))
    capsys.readouterr()
    evaluate(evaluation(*data, "--model", str(tmp_path / "both"), "--against", str(tmp_path / "radar")))
    told = capsys.readouterr().out
    counts = re.findall(r"^(as they come|all|radar only|notes only) .* (\d+)  [\d.]+ to [\d.]+$", told, re.MULTILINE)
    assert dict(counts) == {"as they come": "40", "all": "24", "radar only": "32", "notes only": "32"}
    row = r"radar only +[\d.]+ +[\d.]+ +[-+][\d.]+ +[-+][\d.]+ to [-+][\d.]+ +32$"
    assert re.search(row, told.splitlines()[-1])
