"""`--image-weights`: whole safetensors of this backbone, or one line that says what the file is and what is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from worker.errors import ConfigError
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.training.encoders import image_backbone, load_image_weights

TEXT = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def model() -> FusionModel:
    config = FusionConfig(
        name="tiny", backbone="shufflenet_v2_x0_5", dim=32, inputs=["image"], text={**TEXT, "vocab_size": 50},
        id2label={0: "a", 1: "b"},
    )  # fmt: skip
    return FusionModel(config)


@pytest.fixture
def file(model: FusionModel, tmp_path: Path) -> Path:
    """Weights of this backbone, all of them 1."""
    ones = {name: torch.ones_like(one) for name, one in image_backbone(model).state_dict().items()}
    save_file(ones, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def read(file: Path) -> dict[str, torch.Tensor]:
    """In memory: what `load_file` gives lies in the file, which is written over."""
    return {name: one.clone() for name, one in load_file(file).items()}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def pickled(file: Path) -> None:
    torch.save(read(file), file)


def another(file: Path) -> None:
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, file)


def narrower(file: Path) -> None:
    save_file({**read(file), "0.0.weight": torch.zeros(8, 3, 3, 3)}, file)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, r"is no whole file of safetensors: cut short: it has \d+ bytes, its header says \d+; a file of torch"),
        (pickled, r"is no whole file of safetensors: .*; a file of torch.save .* is not opened, since it may run code"),
        (lambda file: file.write_bytes(b""), "is no whole file of safetensors: "),
        (lambda file: file.unlink(), "cannot be read: No such file or directory"),
        (another, r"no 0.0.weight \[24, 3, 3, 3\] \(\d+ of \d+ are missing\); it holds conv1.weight \[64, 3, 7, 7\]$"),
        (narrower, r"0.0.weight is of \[8, 3, 3, 3\], needed is \[24, 3, 3, 3\]"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told(model: FusionModel, file: Path, spoil: Callable[[Path], object], said: str) -> None:
    """In one line, exit 2, and nothing of it is taken."""
    before = image_backbone(model).state_dict()["0.0.weight"].clone()
    spoil(file)
    with pytest.raises(ConfigError, match=said) as caught:
        load_image_weights(model, file)
    assert str(caught.value).startswith(f"--image-weights {file}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert torch.equal(image_backbone(model).state_dict()["0.0.weight"], before)


def test_the_right_file_is_taken(model: FusionModel, file: Path) -> None:
    """All of it, also under the names that a complete model has."""
    load_image_weights(model, file)
    assert bool((image_backbone(model).state_dict()["0.0.weight"] == 1).all())
