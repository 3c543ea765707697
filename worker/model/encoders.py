"""Bodies of one modality -> features [M, N, D] and their mask [M, N]: cells, tokens, steps, moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

from worker.model.backbones import MAP_SIDE, backbone_of, channels_of, spread_of, stages_of, through
from worker.model.config import FusionConfig
from worker.model.constant import Constant
from worker.model.narrow import narrow, widths
from worker.model.preprocess import NO_TOKEN
from worker.model.signals import frames_of
from worker.model.timing import SCALES_SECONDS, told

AUDIO_STRIDE = 8
_TOKENS = 8  # A text is read at the next multiple of its length: fewer leave groups of one, more compute of nothing.
_WILDEST = 10.0  # Standard deviations.
_LOUDNESS = 4.0  # Nepers: about the spread of log-mel power of speech, so that the convolutions see numbers near 1.


class ImageEncoder(nn.Module):
    """A torchvision backbone up to its last map, 7x7, and a projection to D."""

    def __init__(self, config: FusionConfig) -> None:
        """Raises ValueError when torchvision has no such backbone, its map is not 7x7 or its widths do not fit."""
        super().__init__()
        backbone, image_size, dim = config.backbone, config.image_size, config.dim
        self.view = config.image_view
        self.mean, self.std = (Constant(one, (1, 3, 1, 1)) for one in (config.image_mean, config.image_std))
        self.backbone = backbone_of(backbone)
        if not 0 <= self.view <= len(stages_of(self.backbone)):
            raise ValueError(f"image_view = {self.view}: backbone {backbone!r} has no such stage")
        if config.backbone_widths is not None:
            narrow(self.backbone, widths(config.backbone_widths))
        channels = channels_of(self.backbone, backbone, image_size)
        self.projection = nn.Linear(channels, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """`pixels` [M, 3, H, W], uint8, RGB -> cells [M, 49, D], row by row, their mask, all True, and with `view`, if
        not in training, mean and spread of that stage's channels, [M, D]: cut to D, or filled up with zeros.

        What is 7x7 is taken for the backbone's maps [M, C, 7, 7], computed before.
        """
        known = pixels.shape[-1] == MAP_SIDE
        if known or self.training or not self.view:
            maps = pixels.to(self.projection.weight.dtype) if known else self.maps(pixels)
            return self._cells(maps)
        stages, dim = stages_of(self.backbone), self.projection.out_features
        early = through(stages[: self.view], self._scaled(pixels))
        told = spread_of(early)[:, :dim]
        return *self._cells(through(stages[self.view :], early)), F.pad(told, (0, dim - told.shape[1]))

    def maps(self, pixels: Tensor) -> Tensor:
        """`pixels` [M, 3, H, W], 0..255 -> the backbone's maps [M, C, 7, 7]."""
        found: Tensor = self.backbone(self._scaled(pixels))
        return found

    def _scaled(self, pixels: Tensor) -> Tensor:
        weight = self.projection.weight
        mean, std = self.mean().to(weight.dtype) * 255, self.std().to(weight.dtype) * 255
        # The backbone's convolutions are 1.6 to 2 times as fast on channels_last.
        return pixels.contiguous(memory_format=torch.channels_last).to(weight.dtype).sub_(mean).div_(std)

    def _cells(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        normed: Tensor = self.norm(self.projection(maps.flatten(2).transpose(1, 2)))
        return normed, torch.ones(normed.shape[:2], dtype=torch.bool, device=normed.device)


class TextEncoder(nn.Module):
    """A transformers encoder made from its configuration, and a projection to D.

    Attributes:
        whole: True: all texts of a batch are read in one piece, for who looks into the encoder's layers.
    """

    whole = False

    def __init__(self, config: Mapping[str, Any], dim: int, view: int = 0) -> None:
        """`view`: the layer whose states are the texts' view; 0: none.

        Raises:
            ValueError: transformers knows no such `model_type`.
        """
        super().__init__()
        self.view = view
        made = AutoConfig.for_model(**config)
        self.encoder = encoder_alone(text_class(made).from_config(made))
        # What stands where there is no token; some count positions by it.
        padding = getattr(made, "pad_token_id", None) or 0
        self.padding = padding if 0 <= padding < made.vocab_size else 0
        self.projection = nn.Linear(made.hidden_size, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, ids: Tensor) -> tuple[Tensor, ...]:
        """`ids` [M, T], NO_TOKEN where there is none -> tokens [M, T, D], their mask [M, T], and with `view` the mean
        of that layer's states, [M, D]: cut to D, or filled up with zeros.

        Of a text without any the first place is one, of padding: no token to look at would be no number. What has
        another dimension, [M, T, H], is taken for the encoder's states, computed before, NaN where there is no token.
        """
        if ids.dim() == 3:
            mask = ids[..., 0].isfinite()
            return self._projected(ids.nan_to_num(0.0).to(self.projection.weight.dtype)), mask
        first = torch.arange(ids.shape[1], device=ids.device) == 0
        mask = (ids != NO_TOKEN) | (first & (ids == NO_TOKEN).all(dim=1, keepdim=True))
        found = self.states(ids, mask)
        if not self.view:
            return self._projected(found), mask
        hidden, earlier = found.chunk(2, dim=2)
        weight = mask[:, :, None].to(earlier.dtype)
        mean = (earlier * weight).sum(dim=1) / weight.sum(dim=1)
        return self._projected(hidden), mask, F.pad(mean, (0, self.projection.out_features - mean.shape[1]))

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`ids` [M, T] -> the encoder's states [M, T, H], or with `view` both layers' [M, T, 2H]; what `mask` leaves
        out says nothing.

        On a CPU texts are read with those of their length, in steps of 8 tokens, and beyond it states are 0: no text
        pays for the places of a longer one, and none is read otherwise for the company that it has.
        """
        if self.whole or ids.device.type != "cpu" or torch.compiler.is_exporting() or not len(ids):
            return self._read(ids, mask)
        lengths = (torch.arange(1, ids.shape[1] + 1) * mask).amax(dim=1)
        widths = (-(-lengths // _TOKENS) * _TOKENS).clamp(max=ids.shape[1])
        found, order = [], []
        for width in sorted(set(widths.tolist())):
            rows = (widths == width).nonzero()[:, 0]
            # A lone one is read twice, for the reason that `collate` tells.
            asked = rows if len(rows) > 1 else rows.repeat(2)
            read = self._read(ids[asked, :width], mask[asked, :width])[: len(rows)]
            found.append(F.pad(read, (0, 0, 0, ids.shape[1] - width)))
            order.append(rows)
        return torch.cat(found)[torch.cat(order).argsort()]

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        given = ids.where(ids != NO_TOKEN, self.padding)
        options = {"output_hidden_states": True} if self.view else {}
        found = self.encoder(input_ids=given, attention_mask=mask.long(), **options)
        hidden: Tensor = found.last_hidden_state
        return torch.cat([hidden, found.hidden_states[self.view]], dim=2) if self.view else hidden

    def _projected(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.projection(hidden))
        return normed


class SensorEncoder(nn.Module):
    """Each step of a series of numbers as one place: normalised numbers beside marks of the missing ones.

    With `times` also when the step was, against the anchor, and how long after the step before.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], max_steps: int, dim: int, times: bool = False
    ) -> None:
        super().__init__()
        self.when = nn.Linear(2 * len(SCALES_SECONDS), dim, bias=False) if times else None
        if self.when is not None:
            nn.init.zeros_(self.when.weight)
        self.mean, self.std = Constant(mean, (len(mean),)), Constant(std, (len(std),))
        self.inner = nn.Linear(2 * len(mean), dim)
        self.outer = nn.Linear(dim, dim)
        self.position = nn.Parameter(torch.zeros(max_steps, dim))
        self.norm = nn.LayerNorm(dim)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """`values` [M, S, C], NaN where a number is missing -> places [M, S, D] and their mask [M, S].

        With `times` [M, S, C + 1], the last the step's seconds after the anchor. A step without any number is no place;
        of a reading without any the last step is one, all marks.
        """
        values, seconds = (values, None) if self.when is None else (values[:, :, :-1], values[:, :, -1].float())
        known = values.isfinite()
        mask = known.any(dim=2)
        last = torch.arange(values.shape[1], device=values.device) == values.shape[1] - 1
        mask = mask | (last & ~mask.any(dim=1, keepdim=True))
        wide = values.float()
        scaled = (wide - self.mean()) / self.std()
        # A sensor that goes wild must not drown the others.
        scaled = scaled.nan_to_num(0.0).clamp(-_WILDEST, _WILDEST)
        inner = self.inner(torch.cat([scaled, (~known).float()], dim=2).to(self.inner.weight.dtype))
        if self.when is not None and seconds is not None:
            since = torch.cat([torch.zeros_like(seconds[:, :1]), seconds[:, 1:] - seconds[:, :-1]], dim=1)
            inner = inner + self.when(torch.cat([told(seconds), told(since)], dim=2).to(inner.dtype))
        places: Tensor = self.norm(self.outer(F.gelu(inner)) + self.position)
        return places, mask


class AudioEncoder(nn.Module):
    """A log-mel spectrogram through two strided convolutions over time: about 25 places a 2 s sound."""

    def __init__(self, mels: int, dim: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(mels, dim // 2, 5, stride=2, padding=2)
        self.second = nn.Conv1d(dim // 2, dim, 5, stride=4, padding=2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """`spectrum` [M, F, L] -> places [M, ceil(L / 8), D] and their mask, all True."""
        wide = spectrum.to(self.first.weight.dtype)
        level = wide.mean(dim=(1, 2), keepdim=True)  # Which bands are loud, and when; not how loud the microphone is.
        heard = self.second(F.gelu(self.first((wide - level) / _LOUDNESS)))
        places: Tensor = self.norm(heard.transpose(1, 2))
        return places, torch.ones(places.shape[:2], dtype=torch.bool, device=places.device)


def text_class(config: Any) -> Any:
    """The class of transformers that makes an encoder of this configuration.

    Raises:
        ValueError: it is none of texts, or transformers has its encoder only with a decoder.
    """
    if not hasattr(config, "vocab_size") or not hasattr(config, "hidden_size"):
        raise ValueError(f"text = {config.model_type!r}: is no encoder of texts")
    if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
        return AutoModelForTextEncoding
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"text = {config.model_type!r}: transformers has its encoder only with its decoder")
    return AutoModel


def encoder_alone(model: Any) -> Any:
    """Without a table of words beside it that it would share with a decoder: what is saved holds each number once."""
    return model.encoder if hasattr(model, "shared") else model


def encoder_of(modality: str, config: FusionConfig) -> nn.Module:
    """The encoder of a modality: bodies [M, ...] -> features [M, N, D] and their mask [M, N]."""
    if modality == "image":
        return ImageEncoder(config)
    if modality == "text":
        return TextEncoder(config.text, config.dim, config.text_view)
    if modality == "sensor":
        return SensorEncoder(config.channel_mean, config.channel_std, config.max_steps, config.dim, config.times)
    return AudioEncoder(config.mels, config.dim)


def places_of(modality: str, config: FusionConfig) -> int:
    """N of a modality."""
    if modality == "audio":
        return -(-frames_of(config.audio_rate, config.audio_seconds) // AUDIO_STRIDE)
    return {"image": MAP_SIDE**2, "text": config.max_tokens, "sensor": config.max_steps}[modality]
