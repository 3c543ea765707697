"""`--init` -> the model that a new one begins from: its shape, its tokenizer and what it has of inputs and channels."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from worker.errors import ConfigError
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.model.inputs import numbers_of
from worker.model.load import digest, load
from worker.model.preprocess import columns_of
from worker.model.signals import Column
from worker.model.sums import verified
from worker.training.command import given_settings

# What weights are made for, and the modality that it is about; None: all.
_SHAPES = {
    "fusion": None, "dim": None, "glimpses": None, "rank": None, "backbone": "image", "image_size": "image",
    "max_steps": "sensor", "mels": "audio",
}  # fmt: skip
# What may be another; where it is not given it stays.
_FREE = {"dropout": None, "max_tokens": "text", "audio_seconds": "audio"}
# What would bring other weights.
_OTHERS = {"text": "text", "image_weights": "image"}


@dataclass(frozen=True)
class Start:
    """A trained model.

    Attributes:
        folder: that it was read from.
        reads: its tokenizer as it serves.
        tokenizer: the same, for a model to be trained.
        digest: of its weights.
    """

    folder: Path
    model: FusionModel
    reads: Tokenizer
    tokenizer: Any
    digest: str

    @property
    def config(self) -> FusionConfig:
        """Of the model."""
        config: FusionConfig = self.model.config
        return config

    @cached_property
    def state(self) -> Mapping[str, Tensor]:
        """Its weights by their names, those of packages too."""
        state: Mapping[str, Tensor] = self.model.state_dict()
        return state

    def has(self, modality: str) -> bool:
        """Whether it has an encoder of it."""
        return modality in self.config.inputs

    def matched(self, inputs: Mapping[str, str]) -> list[int | None]:
        """Of each input (name -> modality) the number of the model's own: of its name, or the only one of its modality
        where both have one; None: it is new."""
        found = numbers_of(self.config, inputs)
        return [found[name] for name in inputs]

    def channels(self, told: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
        """The channels of new data with mean and spread as the model has them, so that its weights see what they did.

        `told` is as `readings.channels_of` has it.
        """
        made = {name: list(values) for name, values in told.items()}
        for new, old in enumerate(self.places(told, inputs)):
            if old is not None:
                made["channel_mean"][new] = self.config.channel_mean[old]
                made["channel_std"][new] = self.config.channel_std[old]
        return made

    def places(self, told: Mapping[str, Any], inputs: Mapping[str, str]) -> list[int | None]:
        """Of each channel its place among the model's own; None: it is new."""
        numbers = numbers_of(self.config, inputs)
        own: dict[tuple[str, Column], int] = {}
        for name, number in numbers.items():
            if number is not None and inputs[name] == "sensor":
                places, columns = columns_of(self.config, self.config.names[number])
                own |= {(name, column): place for place, column in zip(places, columns, strict=True)}
        rows = zip(told["channel_inputs"], told["channels"], told["channel_words"], strict=True)
        return [own.get((name, Column(field, word))) for name, field, word in rows]


def opened(arguments: Namespace) -> Start | None:
    """The model of `--init`, looked at as wherever one is loaded; None without.

    Raises:
        ConfigError: it cannot be loaded.
    """
    if arguments.init is None:
        return None
    folder: Path = arguments.init
    with verified(folder):
        model, reads = load(folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        return Start(folder, model, reads, tokenizer, digest(folder))


def settled(arguments: Namespace, start: Start) -> Namespace:
    """The arguments, with the model's own shape where they do not tell it.

    Raises:
        ConfigError: they tell another shape, or another encoder, than the model has.
    """
    given, own = given_settings(arguments.given), start.config
    made = vars(arguments).copy()
    for name, modality in {**_SHAPES, **_FREE}.items():
        if modality is not None and not start.has(modality):
            continue
        held = getattr(own, name)
        if name in _SHAPES and name in given and made[name] != held:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"--init {start.folder}: has {name} = {held}, {option} asks for {made[name]}; its weights fit no "
                f"other: leave {option} out, or train without --init"
            )
        if name not in given:
            made[name] = held
    for name, modality in _OTHERS.items():
        if name in given and start.has(modality):
            option, kind = f"--{name.replace('_', '-')}", _kind(own, modality)
            raise ConfigError(
                f"--init {start.folder}: has a {modality} encoder of its own ({kind}), {option} names "
                f"{made[name]}; leave {option} out, or train without --init"
            )
    return Namespace(**made)


def _kind(config: FusionConfig, modality: str) -> str:
    if modality == "image":
        return config.backbone
    held = config.packages.get("text")
    return str(held["name"] if held else config.text["model_type"])


def listed(names: Sequence[str]) -> str:
    """For a table."""
    return ", ".join(names) or "-"
