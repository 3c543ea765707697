"""Losses, data and the training loop."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from worker.errors import ConfigError
from worker.feeds.junction import LABELS, scene
from worker.model.load import load
from worker.model.runtime import ModelRuntime
from worker.training import command
from worker.training.data import IMAGE_ONLY, TEXT_ONLY, Presence, Samples, batches, folder_samples, junction_samples
from worker.training.losses import joint_loss, triplet_loss
from worker.training.run import train
from worker.training.vocabulary import learn_vocabulary


def test_triplet_is_the_hardest_of_each_anchor() -> None:
    """Equals the definition, written out over all triplets."""
    made = torch.Generator().manual_seed(3)
    fused, labels = torch.randn(12, 8, generator=made), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 3])
    unit = fused / fused.norm(dim=1, keepdim=True)
    far = [[1 - float(a @ b) for b in unit] for a in unit]
    losses = []
    for a, label in enumerate(labels):
        positive = [far[a][p] for p in range(12) if p != a and labels[p] == label]
        negative = [far[a][n] for n in range(12) if labels[n] != label]
        if positive:
            losses.append(max(0.0, max(positive) - min(negative) + 0.2))
    assert float(triplet_loss(fused, labels)) == pytest.approx(np.mean(losses), abs=1e-5)


def test_a_batch_of_one_class_has_no_triplet() -> None:
    """Nothing to compare with costs nothing, and the gradient stays finite."""
    fused = torch.randn(4, 8, requires_grad=True)
    loss = joint_loss(torch.zeros(4, 2), fused, torch.zeros(4, dtype=torch.long), 1.0)
    loss.backward()
    assert float(loss) == pytest.approx(np.log(2))
    assert fused.grad is not None
    assert bool(fused.grad.isfinite().all())


def _samples(count: int = 16) -> Samples:
    raw = list(junction_samples("train", count, 1))
    return Samples(raw, LABELS, learn_vocabulary((s.text or "" for s in raw), 200).backend_tokenizer, 224)


def test_presence_hides_as_often_as_asked_and_never_both() -> None:
    """Image only has no text, text only no image, and dropout leaves one of them always."""
    samples = _samples()
    for presence, images, texts in ((IMAGE_ONLY, 16, 0), (TEXT_ONLY, 0, 16)):
        ((arguments, labels),) = batches(samples, 16, 32, 224, presence, seed=1, shuffle=False)
        assert len(arguments["pixels"]) == images
        assert int(arguments["text_present"].sum()) == texts
        assert labels.tolist() == [0, 1, 2, 3] * 4
    for seed in range(5):
        ((arguments, _),) = batches(samples, 16, 32, 224, Presence(0.4, 0.4), seed=seed, shuffle=False)
        has_image = torch.bincount(arguments["image_of"], minlength=16) > 0
        assert bool((has_image | arguments["text_present"]).all())
        assert 0 < int(has_image.sum()) < 16


def test_the_same_seed_gives_the_same_data() -> None:
    """And another split or seed gives other data."""
    assert list(junction_samples("dev", 4, 1)) == list(junction_samples("dev", 4, 1))
    assert list(junction_samples("dev", 4, 1)) != list(junction_samples("test", 4, 1))
    assert list(junction_samples("dev", 4, 1)) != list(junction_samples("dev", 4, 2))


def _folder(path: Path, count: int = 12) -> Path:
    rng = np.random.default_rng(1)
    for split in ("train", "dev", "test"):
        rows = []
        for n in range(count):
            made = scene(rng, LABELS[n % 2])
            (path / f"{split}{n}.jpg").write_bytes(made.image)
            rows.append(json.dumps({"image": f"{split}{n}.jpg", "text": made.text, "label": made.label}))
        (path / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    return path


def _arguments(*given: str) -> Namespace:
    parser = ArgumentParser()
    command.add_train_arguments(parser)
    return parser.parse_args(given)


def test_training_writes_a_model_that_serves_and_the_same_seed_the_same_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a folder of one's own: report printed, curves and a loadable directory written, twice the same weights."""
    data = _folder(tmp_path)
    for out in ("one", "two"):
        given = ("--epochs", "1", "--batch", "4", "--name", "mine", "--backbone", "shufflenet_v2_x0_5")
        assert train(_arguments("--data", str(data), "--out", str(tmp_path / out), *given)) == 0
    printed = capsys.readouterr().out
    assert "image only       accuracy" in printed
    assert "macro avg" in printed
    assert list((tmp_path / "one" / "logs").glob("events.*"))
    weights = [load(tmp_path / out)[0].state_dict() for out in ("one", "two")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    served = ModelRuntime(
        path=str(tmp_path / "one"), device="cpu", precision="auto", anchor="texts",
        modalities={"texts": "text"}, embedding=False,
    )  # fmt: skip
    assert served.labels == ("congestion", "free_flow")
    assert served.info["name"] == "mine"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"train.jsonl:13: must be a JSON object with label and image or text"),
        ("[]", r"train.jsonl:13: must be a JSON object"),
        ('{"text": "a"}', r"train.jsonl:13: has no label"),
        ('{"label": "a"}', r"train.jsonl:13: has neither image nor text"),
        ('{"label": "a", "image": "gone.jpg"}', r"train.jsonl:13: image 'gone.jpg': No such file"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    """File, line and reason."""
    with (_folder(tmp_path) / "train.jsonl").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(ConfigError, match=message):
        list(folder_samples(tmp_path, "train"))


def test_bad_data_is_named(tmp_path: Path) -> None:
    """A split that is missing or empty, a label never trained, an image that is none, too little data, one label."""
    with pytest.raises(ConfigError, match=r"no train.jsonl there; needed are train.jsonl, dev.jsonl, test.jsonl"):
        train(_arguments("--data", str(tmp_path), "--out", str(tmp_path / "out")))
    data = _folder(tmp_path, 4)
    with pytest.raises(ConfigError, match=r"--batch 32: the training split has only 4 samples"):
        train(_arguments("--data", str(data), "--out", str(tmp_path / "out")))
    (tmp_path / "dev0.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(ConfigError, match=r"dev.jsonl:1: .*cannot be decoded"):
        train(_arguments("--data", str(data), "--out", str(tmp_path / "out"), "--batch", "4", "--epochs", "1"))
    (tmp_path / "dev.jsonl").write_text('{"text": "hello", "label": "new"}\n')
    with pytest.raises(ConfigError, match=r"dev.jsonl:1: label 'new' is not in the training data: congestion, free_"):
        train(_arguments("--data", str(data), "--out", str(tmp_path / "out")))
    (tmp_path / "test.jsonl").write_text("")
    with pytest.raises(ConfigError, match=r"test.*empty"):
        train(_arguments("--data", str(data), "--out", str(tmp_path / "out")))
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text('{"text": "hello", "label": "one"}\n')
    with pytest.raises(ConfigError, match=r"has 1 labels \(one\); needed are two"):
        train(_arguments("--data", str(data), "--out", str(tmp_path / "out")))


def test_the_vocabulary_depends_on_the_texts_alone() -> None:
    """Twice the same; common words are one piece, others are spelled, and nothing printable is unknown."""
    texts = ["siren near the bridge", "the bridge is clear", "the bus"]
    first, second = (learn_vocabulary(texts, 170).backend_tokenizer for _ in range(2))
    assert first.to_str() == second.to_str()
    assert first.encode("The bridge").tokens == ["[CLS]", "the", "bridge", "[SEP]"]
    assert first.encode("bug").tokens == ["[CLS]", "b", "##u", "##g", "[SEP]"]
    assert first.encode("").tokens == ["[CLS]", "[SEP]"]
    assert first.get_vocab_size() <= 170


def test_arguments_are_checked() -> None:
    """A count is a whole number of at least 1."""
    with pytest.raises(ArgumentTypeError, match="must be a whole number of at least 1"):
        command._positive("0")
