"""Items, each with the bodies of every input -> the arguments of FusionModel.forward."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from worker.model.config import FusionConfig
from worker.model.cuda import Allocate
from worker.model.signals import frames_of


@dataclass(frozen=True, slots=True)
class Item:
    """One anchor, ready for the model.

    Attributes:
        bodies: per input, in the order of `config.inputs`, the tensors of its bodies.
        truncated: as Verdict has it.
        seconds: per input and body how long after the anchor it was, NaN where that is not known; (): of none.
    """

    bodies: tuple[tuple[Tensor, ...], ...]
    truncated: Mapping[str, str] = field(default_factory=dict)
    seconds: tuple[tuple[float, ...], ...] = ()

    def only(self, inputs: Sequence[int]) -> Item:
        """This item with these inputs alone."""
        bodies = tuple(one if number in inputs else () for number, one in enumerate(self.bodies))
        seconds = tuple(one if number in inputs else () for number, one in enumerate(self.seconds))
        return replace(self, bodies=bodies, seconds=seconds)

    @property
    def nbytes(self) -> int:
        """Of its tensors."""
        return sum(body.nbytes for one in self.bodies for body in one)

    @property
    def present(self) -> tuple[int, ...]:
        """The inputs that it has."""
        return tuple(number for number, one in enumerate(self.bodies) if one)


def allocated(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Memory as any other."""
    return torch.empty(tuple(shape), dtype=dtype)


def collate(items: Sequence[Item], config: FusionConfig, allocate: Allocate = allocated) -> dict[str, Any]:
    """The arguments of FusionModel.forward for these items.

    A lone body of an input stands there twice, which pools to the same: a batch of one takes other kernels, whose last
    digits differ. What `allocate` gives, such as pinned memory, is what the bodies are copied into.
    """
    bodies, item_of, when = [], [], []
    for number, modality in enumerate(config.inputs):
        found = [
            (body, owner, one)
            for owner, item in enumerate(items)
            for body, one in zip(item.bodies[number], _when(item, number), strict=True)
        ]
        if len(found) == 1:
            found *= 2
        bodies.append(_stacked([body for body, _, _ in found], modality, config, allocate))
        owners = torch.tensor([owner for _, owner, _ in found], dtype=torch.long)
        item_of.append(allocate(owners.shape, owners.dtype).copy_(owners))
        times = torch.tensor([one for _, _, one in found], dtype=torch.float32).view(-1, 2)
        when.append(allocate(times.shape, times.dtype).copy_(times))
    arguments = {"bodies": bodies, "item_of": item_of, "items": len(items)}
    return {**arguments, "when": when} if config.times else arguments


def _when(item: Item, number: int) -> list[tuple[float, int]]:
    """Of each body of an input its seconds after the anchor, and how many are newer."""
    count = len(item.bodies[number])
    seconds = item.seconds[number] if item.seconds else (math.nan,) * count
    return [(one, count - 1 - place) for place, one in enumerate(seconds)]


def on_device(arguments: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The arguments with their tensors on the device."""
    tensors: list[str] = [name for name in ("bodies", "item_of", "when") if name in arguments]
    moved = {name: [one.to(device, non_blocking=True) for one in arguments[name]] for name in tensors}
    return {**arguments, **moved}


def _stacked(found: Sequence[Tensor], modality: str, config: FusionConfig, allocate: Allocate) -> Tensor:
    if not found:
        return torch.zeros(0, *_shape(modality, config), dtype=_NUMBERS.get(modality, torch.float32))
    if modality == "image":
        # [3, S, S] each -> [M, 3, S, S] in channels_last, which is how a decoded image lies in memory.
        return _side_by_side([image.permute(1, 2, 0) for image in found], allocate).permute(0, 3, 1, 2)
    return _side_by_side(found, allocate)


def _side_by_side(tensors: Sequence[Tensor], allocate: Allocate) -> Tensor:
    room = allocate((len(tensors), *tensors[0].shape), tensors[0].dtype)
    return torch.stack(list(tensors), out=room)


_NUMBERS = {"image": torch.uint8, "text": torch.long}


def _shape(modality: str, config: FusionConfig) -> tuple[int, ...]:
    if modality == "image":
        return (3, config.image_size, config.image_size)
    if modality == "text":
        return (config.max_tokens,)
    if modality == "sensor":
        return (config.max_steps, config.step_width)
    return (config.mels, frames_of(config.audio_rate, config.audio_seconds))
