"""The model: missing modalities, several images, saved and loaded, and answers that do not depend on neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from worker.errors import ConfigError, Poison
from worker.feeds.junction import LABELS, scene
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.model.load import device_of, load, number_format
from worker.model.preprocess import decode_image
from worker.model.runtime import Item, ModelRuntime, collate
from worker.training.vocabulary import learn_vocabulary

TEXT = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
# Without training its map still depends on the image, unlike MobileNet's.
BACKBONE = "shufflenet_v2_x0_5"
DEVICES = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model as `train` would leave it."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("model")
    tokenizer = learn_vocabulary((scene(np.random.default_rng(n)).text for n in range(50)), 300)
    text = {**TEXT, "intermediate_size": 64, "vocab_size": len(tokenizer)}
    model = FusionModel(
        FusionConfig(name="tiny", backbone=BACKBONE, dim=64, text=text, id2label=dict(enumerate(LABELS)))
    )
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def runtime(folder: Path, device: str = "cpu") -> ModelRuntime:
    """The model, served."""
    modalities = {"texts": "text", "frames": "image"}
    return ModelRuntime(
        path=str(folder), device=device, precision="fp32", anchor="texts", modalities=modalities, embedding=True
    )


def items(count: int, seed: int = 5) -> list[Item]:
    """Items with both, with either, and with several images."""
    rng = np.random.default_rng(seed)
    made = []
    for n in range(count):
        images = tuple(decode_image(scene(rng).image, 224, "frames") for _ in range((1, 0, 3, 1)[n % 4]))
        ids = tuple(int(i) for i in rng.integers(4, 200, rng.integers(1, 20))) if n % 4 != 3 else None
        made.append(Item(images, ids))
    return made


@pytest.mark.parametrize("device", DEVICES)
def test_a_verdict_does_not_depend_on_its_neighbours(folder: Path, device: str) -> None:
    """In any company and any order each item gets the verdict it gets alone, to the last digit that is told."""
    served, some = runtime(folder, device), items(9)
    alone = [served.infer([item])[0] for item in some]
    assert len({verdict.embedding for verdict in alone}) == len(some)
    rng = np.random.default_rng(2)
    for count in (2, 3, 5, 9):
        order = rng.permutation(9)[:count]
        together = served.infer([some[n] for n in order])
        assert [v.scores for v in together] == [alone[n].scores for n in order]
        for verdict, n in zip(together, order, strict=True):
            np.testing.assert_allclose(verdict.embedding, alone[n].embedding, atol=1e-4)


def test_serving_computes_what_training_saved(folder: Path) -> None:
    """Folded batch norms and the padded batch change no score."""
    some = items(6)
    model, _ = load(folder)
    with torch.inference_mode():
        wanted = model.eval()(**collate(some, 32, 224)).logits.softmax(-1).tolist()
    for verdict, row in zip(runtime(folder).infer(some), wanted, strict=True):
        assert list(verdict.scores.values()) == pytest.approx(row, abs=1e-4)
        assert verdict.score == max(verdict.scores.values()) == verdict.scores[verdict.label]


def test_a_missing_modality_is_a_token_of_its_own(folder: Path) -> None:
    """A missing text is not an empty one; what stands in a missing text's row is not looked at."""
    served = runtime(folder)
    (both, *_) = items(1)
    without = served.infer([Item(both.images, None)])[0]
    empty = served.infer([Item(both.images, (2, 3))])[0]
    assert without.embedding != empty.embedding
    model, _ = load(folder)
    arguments = collate([Item(both.images, None), both], 32, 224)
    before = model.eval()(**arguments).logits
    arguments["input_ids"][0] = 7
    torch.testing.assert_close(model(**arguments).logits, before)


def test_several_images_are_averaged(folder: Path) -> None:
    """The same image twice says what it says once; another one beside it says something else."""
    served = runtime(folder)
    (one,) = items(1)
    night = torch.zeros(3, 224, 224, dtype=torch.uint8)
    once = served.infer([one])[0]
    twice = served.infer([Item(one.images * 2, one.input_ids)])[0]
    np.testing.assert_allclose(twice.embedding, once.embedding, atol=1e-4)
    mixed = served.infer([Item((*one.images, night), one.input_ids)])[0]
    assert not np.allclose(mixed.embedding, once.embedding, atol=1e-4)


def test_scores_that_are_not_finite_are_poison(folder: Path) -> None:
    """A model that gives no number gives no verdict."""
    served = runtime(folder)
    with torch.no_grad():
        served._model.head.bias[0] = float("nan")
    with pytest.raises(Poison, match="not finite"):
        served.infer(items(2))


def test_a_directory_that_does_not_fit_is_told_apart(folder: Path, tmp_path: Path) -> None:
    """Missing files, weights of another shape and code instead of weights are each one clear line."""
    with pytest.raises(ConfigError, match=r"no config.json, model.safetensors, tokenizer.json there"):
        load(tmp_path)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert load(tmp_path)[0].config.name == "tiny"
    config = (folder / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"dim": 64', '"dim": 32'))
    with pytest.raises(ConfigError, match=r"model.path"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(config.replace(BACKBONE, "vit_b_16"))
    with pytest.raises(ConfigError, match=r"model.path"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match=r"cannot be loaded"):
        load(tmp_path)


def test_devices_and_number_formats() -> None:
    """A device that is not there and a format without weights are named."""
    with pytest.raises(ConfigError, match=r"model.device = 'cuda:99': torch sees \d+ GPUs"):
        device_of("cuda:99")
    with pytest.raises(ConfigError, match=r"no int8 weights"):
        number_format("int8", torch.device("cpu"))
    assert number_format("auto", torch.device("cpu")) == torch.float32


def test_config_refuses_what_it_cannot_build() -> None:
    """Each wrong value is named with what it may be."""
    with pytest.raises(ValueError, match="fusion = 'sum': must be one of"):
        FusionConfig(fusion="sum")
    with pytest.raises(ValueError, match="dim = 30: must be a multiple of glimpses = 4"):
        FusionConfig(dim=30)
    with pytest.raises(ValueError, match="gives a map of 4x4 for 128 pixels, not 7x7"):
        FusionModel(FusionConfig(image_size=128))
