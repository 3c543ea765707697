"""A model folder whose parts are cut, pointers or of two trainings is refused at load, with file and numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from tests.tiny import write_tiny_model
from worker.errors import ConfigError
from worker.model.folder import ensure_servable
from worker.model.load import load
from worker.model.served import serve
from worker.model.sums import SUMS

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that loads, without a list of its files, which would tell first."""
    path = write_tiny_model(tmp_path_factory.mktemp("whole"))
    (path / SUMS).unlink()
    load(path)
    return path


def configured(**changes: object) -> Spoil:
    """The configuration with other values; those of the text encoder by their own names."""

    def spoil(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        for name, value in changes.items():
            (config["text"] if name in config["text"] or name.endswith("embeddings") else config)[name] = value
        (folder / "config.json").write_text(json.dumps(config))

    return spoil


def more_words(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([f"rare{n}" for n in range(7)])
    tokenizer.save(str(folder / "tokenizer.json"))


def cut(name: str, to: int) -> Spoil:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:to])


def pointer(name: str) -> Spoil:
    return lambda folder: (folder / name).write_text(POINTER)


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["head.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "said", "early"),
    [
        (pointer("model.safetensors"), "model.safetensors: is a Git LFS pointer, not the file; `git lfs pull`", True),
        (pointer("tokenizer.json"), "tokenizer.json: is a Git LFS pointer", True),
        (pointer("config.json"), "config.json: is a Git LFS pointer", True),
        (cut("model.safetensors", 0), "model.safetensors: is empty", True),
        (cut("model.safetensors", 5), "model.safetensors: it has 5 bytes, its header", True),
        (cut("model.safetensors", 500), "model.safetensors: it has 500 bytes, its header", True),
        (cut("model.safetensors", -1), "its header says", True),
        (cut("tokenizer.json", 100), "tokenizer.json: cut short or no JSON", True),
        (cut("config.json", 100), "config.json: cut short or no JSON", True),
        (lambda f: (f / "config.json").write_text("[]"), "config.json: must be a JSON object", True),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"[]"), "not one of safetensors", True),
        (lambda f: (f / "model.safetensors").write_bytes(b"PK" * 50), "its header", True),
        (more_words, "words, the embedding has", False),
        (configured(max_tokens=600), "max_tokens is 600, the text encoder has 512 positions", False),
        (configured(max_position_embeddings=64), "[512, 32], config.json tells [64, 32]", False),
        (configured(id2label={"0": "a", "1": "b"}), "head.weight is of [", False),
        (configured(dim=32), "config.json tells [", False),
        (configured(hidden_size=64), "config.json tells [", False),
        (configured(inputs=["image", "text", "text"]), "model.safetensors has no fusion", False),
        (configured(backbone="nosuchnet"), "nosuchnet", False),
        (without_a_tensor, "model.safetensors has no head.weight", False),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(whole: Path, tmp_path: Path, spoil: Spoil, said: str, early: bool) -> None:
    """`early`: already before torch is imported."""
    folder = tmp_path / "m"
    shutil.copytree(whole, folder)
    spoil(folder)
    with pytest.raises(ConfigError) as caught:
        serve(folder, "cpu", "fp32")
    assert str(caught.value).startswith(f"model.path = {str(folder)!r}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    if early:
        with pytest.raises(ConfigError) as before:
            ensure_servable(str(folder))
        assert str(before.value) == str(caught.value)
    else:
        ensure_servable(str(folder))


def test_sensors_are_compared(tmp_path: Path) -> None:
    """One more channel, another number of steps."""
    folder = write_tiny_model(tmp_path / "m", ("sensor", "text"))
    for change in ({"max_steps": 5}, {"channels": ["a"], "channel_mean": [0.0], "channel_std": [1.0]}):
        kept = (folder / "config.json").read_text()
        configured(**change)(folder)
        with pytest.raises(ConfigError, match=r"model.safetensors: encoders.sensor.* is of \[.*\], config.json tells"):
            load(folder)
        (folder / "config.json").write_text(kept)
    load(folder)


def test_what_ships_is_named() -> None:
    """Each that ships can be served by its name; another name is told all of them."""
    for name in ("junction", "home"):
        ensure_servable(f"shipped:{name}")
    with pytest.raises(ConfigError, match=r"model.path = 'shipped:hom': what ships is shipped:junction, shipped:home"):
        ensure_servable("shipped:hom")
