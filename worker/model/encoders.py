"""Pixels [M, 3, H, W] -> cells [M, 49, D]; token ids [B, T] -> tokens [B, T, D]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

MAP_SIDE = 7


class ImageEncoder(nn.Module):
    """A torchvision backbone up to its last map, 7x7, and a projection to D."""

    def __init__(self, backbone: str, image_size: int, mean: Sequence[float], std: Sequence[float], dim: int) -> None:
        """Raises ValueError when torchvision has no such backbone or its map is not 7x7."""
        super().__init__()
        self.mean, self.std = tuple(mean), tuple(std)
        self.backbone = _feature_map(backbone)
        channels = _channels(self.backbone, backbone, image_size)
        self.projection = nn.Linear(channels, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """`pixels` [M, 3, H, W], uint8, RGB -> cells [M, 49, D], row by row."""
        weight = self.projection.weight
        mean = weight.new_tensor(self.mean).view(1, 3, 1, 1) * 255
        std = weight.new_tensor(self.std).view(1, 3, 1, 1) * 255
        # The backbone's convolutions are 1.6 to 2 times as fast on channels_last.
        scaled = pixels.contiguous(memory_format=torch.channels_last).to(weight.dtype).sub_(mean).div_(std)
        cells = self.backbone(scaled).flatten(2).transpose(1, 2)  # [M, 49, C]
        normed: Tensor = self.norm(self.projection(cells))
        return normed


class TextEncoder(nn.Module):
    """A transformers encoder made from its configuration, and a projection to D."""

    def __init__(self, config: Mapping[str, Any], dim: int) -> None:
        """Raises ValueError when transformers knows no such `model_type`."""
        super().__init__()
        made = AutoConfig.for_model(**config)
        self.encoder = AutoModel.from_config(made)
        self.projection = nn.Linear(made.hidden_size, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """`input_ids` [B, T], `attention_mask` [B, T], 1 where there is a token -> tokens [B, T, D]."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        normed: Tensor = self.norm(self.projection(hidden))
        return normed


def _feature_map(name: str) -> nn.Module:
    """The backbone without its pooling and classifier."""
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ValueError(f"backbone = {name!r}: torchvision has no such image model")
    model = torchvision.models.get_model(name, weights=None)
    if hasattr(model, "features"):
        features: nn.Module = model.features
        return features
    kept = [child for child in model.children() if not isinstance(child, (nn.AdaptiveAvgPool2d, nn.Linear))]
    return nn.Sequential(*kept)


def _channels(features: nn.Module, name: str, image_size: int) -> int:
    """The depth of the backbone's map."""
    try:
        with torch.no_grad():
            shape = tuple(features.eval()(torch.zeros(1, 3, image_size, image_size)).shape)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"backbone = {name!r}: gives no map of features: {error}") from error
    if len(shape) != 4 or shape[2:] != (MAP_SIDE, MAP_SIDE):
        size = "x".join(str(n) for n in shape[2:])
        raise ValueError(f"backbone = {name!r}: gives a map of {size} for {image_size} pixels, not 7x7")
    return int(shape[1])
