"""Item -> Ground per input: the numbers that the model sees, what stands for their absence, and the units to judge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from worker.model.calibration import Temperatures, set_of
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.model.items import Item, collate
from worker.model.preprocess import Preprocessor

# An image is judged in GRID x GRID squares: finer than the model's 7x7 map, coarse enough that hiding one is seen.
GRID = 14
# The side's part that a blur spreads over. Squares of one colour instead have hard edges, which a model that never saw
# any takes for something: on the model that ships, hiding a tenth of an empty road so took its label's probability from
# 0.99 to 0, and hiding all of it gave it back.
BLUR = 1 / 20
# Frames of a spectrogram judged together: 80 ms, one place of the audio encoder.
AUDIO_FRAMES = 8
NO_UNIT = -1
_STAND_INS = ("[MASK]", "[UNK]", "[PAD]")


@dataclass(frozen=True, slots=True)
class Ground:
    """One input of one item.

    Attributes:
        number: its place among the model's inputs.
        value: its M bodies, [M, ...]: pixels 0..255 (float), token ids, a series, a spectrogram.
        baseline: the same shape; what stands for nothing: the image blurred, a mask token, the channels' means, the
            sound's own mean level.
        when: [M, 2], as FusionModel.forward takes it; None: the model does not.
        units: the same shape; which unit each number belongs to, NO_UNIT: it is never hidden.
        names: what each unit is called.
    """

    number: int
    name: str
    modality: str
    value: Tensor
    baseline: Tensor
    units: Tensor
    names: tuple[str, ...]
    when: Tensor | None = None

    def without(self, units: Sequence[int]) -> Tensor:
        """The value with these units hidden."""
        hidden = torch.isin(self.units, torch.tensor(list(units), dtype=torch.long))
        return torch.where(hidden, self.baseline, self.value)

    def summed(self, attribution: Tensor) -> Tensor:
        """Per unit the sum of an attribution of the value's shape."""
        judged = self.units != NO_UNIT
        return torch.zeros(len(self.names)).index_add(0, self.units[judged], attribution[judged].float())


def grounds_of(item: Item, config: FusionConfig, names: Sequence[str], tokenizer: Tokenizer) -> list[Ground]:
    """One per input that the item has; on the CPU."""
    made = []
    when = collate([item, item], config).get("when")  # Of two, since of one a lone body would stand there twice.
    for number in item.present:
        modality, value = config.inputs[number], torch.stack(list(item.bodies[number]))
        if modality == "text":
            baseline, units, told = _text(value, config, tokenizer)
        elif modality == "image":
            value = value.float()
            baseline, units, told = _image(value)
        elif modality == "sensor":
            baseline, units, told = _sensor(value, config)
        else:
            baseline, units, told = _audio(value)
        own = when[number][: len(value)] if when is not None else None
        made.append(Ground(number, names[number], modality, value, baseline, units, told, own))
    return made


def _image(value: Tensor) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Squares, row by row, of each body."""
    bodies, _, side, _ = value.shape
    spread = side * BLUR
    width = 2 * math.ceil(2 * spread) + 1
    blurred: Tensor = gaussian_blur(value, [width, width], [spread, spread])
    line = torch.arange(side) * GRID // side
    squares = line[:, None] * GRID + line[None, :]  # [H, W]
    units = squares + torch.arange(bodies).view(-1, 1, 1, 1) * GRID**2
    told = tuple(f"{m + 1}: {n // GRID + 1}/{n % GRID + 1}" for m in range(bodies) for n in range(GRID**2))
    return blurred, units.expand_as(value), told


def _text(value: Tensor, config: FusionConfig, tokenizer: Tokenizer) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Words, without the tokens that frame a text."""
    known = (tokenizer.token_to_id(name) for name in _STAND_INS)
    stand_in = next((found for found in known if found is not None), 0)
    units, reads = torch.full_like(value, NO_UNIT), Preprocessor(config, tokenizer)
    told: list[str] = []
    for body, ids in enumerate(value):
        for word, places in reads.words(ids):
            units[body, places] = len(told)
            told.append(word)
    return torch.where(units == NO_UNIT, value, stand_in), units, tuple(told)


def _sensor(value: Tensor, config: FusionConfig) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """A channel at a step, where it has a number."""
    known = value.isfinite()
    known[..., len(config.channels) :] = False  # When the step was.
    mean = torch.zeros_like(value)
    mean[..., : len(config.channels)] = torch.tensor(config.channel_mean)
    units = torch.where(known, known.flatten().cumsum(0).view_as(value) - 1, NO_UNIT)
    told = tuple(f"{config.channel_names[c]} {s + 1}" for _, s, c in known.nonzero().tolist())
    return torch.where(known, mean, value), units, told


def _audio(value: Tensor) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Moments of every band."""
    bodies, _, frames = value.shape
    moments = -(-frames // AUDIO_FRAMES)
    level = value.mean(dim=(1, 2), keepdim=True).expand_as(value)
    units = torch.arange(frames) // AUDIO_FRAMES + torch.arange(bodies).view(-1, 1, 1) * moments
    told = tuple(f"{m + 1}: {n * AUDIO_FRAMES / 100:.2f} s" for m in range(bodies) for n in range(moments))
    return level, units.expand_as(value), told


class Probe:
    """The probability of one label as the inputs of one item are changed."""

    def __init__(self, model: FusionModel, grounds: Sequence[Ground], label: int) -> None:
        """`model` computes in float32."""
        self._model, self._grounds, self.label = model, grounds, label
        self.device = next(model.parameters()).device
        self._temperature = Temperatures(model.config).of(set_of(ground.number for ground in grounds))

    def __call__(self, changed: Mapping[int, Tensor]) -> Tensor:
        """The probability [n], of `changed`: per input's number its values [n, M, ...]; the others stay as they are."""
        count = len(next(iter(changed.values())))
        bodies: list[Tensor] = []
        item_of: list[Tensor] = []
        when: list[Tensor] = []
        by_number = {ground.number: ground for ground in self._grounds}
        for number in range(len(self._model.config.inputs)):
            if number not in by_number:
                bodies.append(torch.zeros(0, device=self.device))
                item_of.append(torch.zeros(0, dtype=torch.long, device=self.device))
                when.append(torch.zeros(0, 2, device=self.device))
                continue
            value = by_number[number].value
            given = changed[number] if number in changed else value.expand(count, *value.shape)
            # A copy: the image encoder normalises in place.
            bodies.append(given.to(self.device).flatten(0, 1).clone())
            item_of.append(torch.arange(count, device=self.device).repeat_interleave(len(value)))
            if (own := by_number[number].when) is not None:
                when.append(own.to(self.device).repeat(count, 1))
        times = when if self._model.config.times else []
        logits = self._model(bodies=bodies, item_of=item_of, items=count, when=times).logits
        scores: Tensor = (logits.float() / self._temperature).softmax(dim=-1)[:, self.label]
        return scores
