"""`train --init`: what a new model has of an earlier one, by the names of inputs, labels and channels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from tests.unit.test_training import arguments, folder
from tests.unit.test_training_choices import SMALL, readings
from worker.errors import ConfigError, Fatal
from worker.model.load import load
from worker.training.build import Built, build
from worker.training.encoders import merge
from worker.training.evaluate import measure
from worker.training.presence import ALL
from worker.training.run import samples_of, train
from worker.training.sources import Data, read
from worker.training.start import opened
from worker.training.taken import begin_labels

ONE = (*SMALL, "--epochs", "1")


def more(path: Path, count: int = 30) -> Path:
    """The road of `readings` with a third label, a further sensor and a further field; names sort otherwise."""
    rng = np.random.default_rng(4)
    path.mkdir(exist_ok=True)
    for split in ("train", "dev", "test"):
        rows = []
        for n in range(count):
            label = ("calm", "accident", "busy")[n % 3]
            inputs: dict[str, Any] = {
                "radar": {"count": float(n % 2), "speed": float(label == "busy") + rng.normal(0, 0.3)},
                "levels": {"hum": float(label == "accident") + rng.normal(0, 0.1)},
                "notes": {"text": f"the road is {label}"},
            }
            modalities = {"radar": "sensor", "levels": "sensor", "notes": "text"}
            rows.append(json.dumps({"inputs": inputs, "modalities": modalities, "label": label}))
        (path / f"{split}.jsonl").write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows calm and busy from radar and notes."""
    path = tmp_path_factory.mktemp("earlier")
    assert train(arguments("--data", str(readings(path / "data")), "--out", str(path / "model"), *ONE)) == 0
    return path / "model"


def begun(earlier: Path, data: Path, *given: str) -> tuple[Built, Data]:
    """What `train --init` begins with."""
    found = read(str(data), 0, 0)
    told = arguments("--out", "x", "--init", str(earlier), "--batch", "8", *given)
    return build(told, found, start=opened(told)), found


def test_what_has_a_name_is_found_by_it(earlier: Path, tmp_path: Path) -> None:
    """Inputs, labels and fields that come in another order, between new ones, keep their weights and their scale."""
    old = load(earlier)[0]
    made, _ = begun(earlier, more(tmp_path / "data"))
    new = made.model
    assert (old.config.names, new.config.names) == (["notes", "radar"], ["notes", "levels", "radar"])
    for name in ("role", "missing"):
        assert torch.equal(getattr(new, name)[[0, 2]], getattr(old, name)), name
    state, held = new.state_dict(), old.state_dict()
    for part in ("query", "value"):
        assert torch.equal(state[f"fusion.{part}.2.weight"], held[f"fusion.{part}.1.weight"])
    assert not state["fusion.value.1.weight"].any()
    assert torch.equal(state["head.weight"][[1, 2]], held["head.weight"])
    assert made.begun is not None
    assert made.begun.labels == (0,)
    # hum of levels, count and speed of radar; then their marks.
    columns = state["encoders.sensor.inner.weight"]
    assert torch.equal(columns[:, [2, 5]], held["encoders.sensor.inner.weight"])
    assert not columns[:, [0, 1, 3, 4]].any()
    assert new.config.channel_mean[2] == old.config.channel_mean[0]
    assert torch.equal(state["encoders.text.encoder.embeddings.word_embeddings.weight"],
                       held["encoders.text.encoder.embeddings.word_embeddings.weight"])  # fmt: skip
    assert made.tokenizer.get_vocab().keys() >= {"calm", "busy"}
    assert "accident" not in made.tokenizer.get_vocab()


def test_a_label_that_is_new_begins_where_its_samples_are(earlier: Path, tmp_path: Path) -> None:
    """Without a step of training its own samples get more of it than others do; no more and no less of it overall."""
    made, data = begun(earlier, more(tmp_path / "data"))
    train_rows, dev = (samples_of(made, data, split) for split in ("train", "dev"))
    assert made.begun is not None
    begin_labels(made.model, train_rows, made.begun.labels, 8)
    seen = measure(made.model, dev, 8, ALL)
    raised = seen.logits[:, 0] - seen.logits[:, 1:].mean(axis=1)
    assert raised[seen.truth == 0].mean() > raised[seen.truth != 0].mean() + 0.5
    assert abs(measure(made.model, train_rows, 8, ALL).logits.mean(axis=0) @ [2, -1, -1]) < 1e-4
    head = made.model.head.weight.norm(dim=1)
    assert head[0].item() == pytest.approx(head[1:].mean().item(), rel=1e-4)


def test_a_run_that_begins_from_a_model_tells_what_it_has_of_it(
    earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table at the start, the earlier model in the card, and a model of its shape that serves."""
    out = tmp_path / "out"
    given = ("--data", str(more(tmp_path / "data")), "--init", str(earlier), "--out", str(out), "--batch", "8")
    assert train(arguments(*given, "--epochs", "1")) == 0
    printed = capsys.readouterr().out
    table = [line.split() for line in printed.splitlines() if line.startswith(("inputs ", "labels ", "channels "))]
    assert table[0] == ["inputs", "notes,", "radar", "levels", "-"]
    assert table[1] == ["labels", "busy,", "calm", "accident", "-"]
    assert table[2] == ["channels", "speed", "of", "radar", "hum", "of", "levels,", "count", "of", "radar", "-"]
    model = load(out)[0]
    assert (model.config.dim, list(model.config.id2label.values())) == (32, ["accident", "busy", "calm"])
    assert "Began from**: the model fusion (" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--dim", "64"), "has dim = 32, --dim asks for 64"),
        (("--fusion", "dense"), "has fusion = attention, --fusion asks for dense"),
        (("--text", "minilm"), "has a text encoder of its own (bert), --text names minilm"),
    ],
)
def test_another_shape_is_refused(earlier: Path, tmp_path: Path, given: tuple[str, ...], message: str) -> None:
    """One sentence that names both and the way out."""
    with pytest.raises(ConfigError, match="train without --init") as told:
        begun(earlier, more(tmp_path / "data"), *given)
    assert f"--init {earlier}: {message}" in str(told.value)


def test_an_old_test_set_that_does_not_fall(earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Old rows are trained on again, old labels and inputs stay, and the old test set is told in report and card."""
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for split in ("train", "dev", "test"):
        text = [{"text": f"{n} cars in the {word}", "label": word} for n in range(8) for word in ("fog", "rain")]
        (data / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in text))
    old = ("--init", str(earlier), "--old-data", str(earlier.parent / "data"), "--most-fall", "0.2")
    given = ("--data", str(data), *old, "--out", str(out), "--batch", "8", "--epochs", "6", "--augment", "0")
    assert train(arguments(*given)) == 0
    said = re.search(r"he old test set: accuracy (\S+) before, (\S+) now .*, n = 24\)", capsys.readouterr().out)
    assert said is not None
    assert float(said[2]) >= float(said[1]) - 0.2
    assert said[0] in (out / "README.md").read_text()
    config = load(out)[0].config
    assert set(config.id2label.values()) == {"busy", "calm", "fog", "rain"}
    assert set(config.names) == {"text", "radar"}


def test_an_old_test_set_that_falls_too_far_leaves_no_model(earlier: Path, tmp_path: Path) -> None:
    """New rows that say the opposite of the old ones: one sentence with both figures, exit 1, and nothing to serve."""
    data, out = readings(tmp_path / "data", 200), tmp_path / "out"
    for split in ("train", "dev", "test"):
        text = (data / f"{split}.jsonl").read_text()
        turned = text.replace('"label": "calm"', '"label": "x"').replace('"label": "busy"', '"label": "calm"')
        (data / f"{split}.jsonl").write_text(turned.replace('"label": "x"', '"label": "busy"'))
    old = ("--init", str(earlier), "--old-data", str(earlier.parent / "data"), "--most-fall", "0.02")
    with pytest.raises(Fatal, match=r"the old test set: accuracy .* may fall by 0\.02 .*no model is written") as told:
        train(arguments("--data", str(data), *old, "--out", str(out), "--batch", "8", "--epochs", "3"))
    assert told.value.exit_code == 1
    assert not (out / "config.json").exists()
    with pytest.raises(ConfigError, match="--old-data: has an effect with --init alone"):
        train(arguments("--data", str(data), *old[2:], "--out", str(out)))


def test_additions_to_additions_are_all_kept(tmp_path: Path) -> None:
    """MiniLM with additions, trained on with additions: what is loaded is what was trained, both times."""
    data = read(str(folder(tmp_path, 4)), 0, 0).only(["text"])
    given = ["--out", "x", "--text", "minilm", "--encoders", "lora", "--dim", "32", "--max-tokens", "8"]
    for name in ("one", "two"):
        told = arguments(*given)
        made = build(told, data, start=opened(told))
        rng = torch.Generator().manual_seed(len(name))
        for layer in [one for one in made.model.modules() if isinstance(one, BaseTunerLayer)]:
            torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.02, generator=rng)
        merge(made.model)
        made.model.save_pretrained(tmp_path / name)
        made.tokenizer.save_pretrained(tmp_path / name)
        again = load(tmp_path / name)[0].state_dict()
        for part, one in made.model.state_dict().items():
            torch.testing.assert_close(again[part], one, atol=1e-4, rtol=1e-4, msg=f"{name}: {part}")
        given = ["--out", "x", "--encoders", "lora", "--init", str(tmp_path / name)]
    ranks = {one.shape[0] for part, one in made.model.additions.items() if part.endswith(".a")}
    assert ranks == {16}
