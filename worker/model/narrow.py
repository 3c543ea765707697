"""A backbone of inverted residuals -> the same with fewer channels inside its blocks.

What goes in and out of a block stays as wide as it was: only the channels between its two 1x1 convolutions are fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation


class Block(NamedTuple):
    """The layers of an inverted residual, as torchvision's MobileNetV3 and EfficientNet have them."""

    expand: Any
    depthwise: Any
    squeeze: Any
    project: Any

    @property
    def width(self) -> int:
        """Channels inside."""
        return len(self.project[0].weight[0])

    @property
    def weighs(self) -> Tensor:
        """Per channel inside: how much of it can reach the block's end, [width]."""
        reach: Tensor = self.project[0].weight.detach().flatten(2).norm(dim=(0, 2))
        weighs: Tensor = reach * self.depthwise[1].weight.detach().abs()
        return weighs


def blocks_of(backbone: nn.Module) -> list[Block]:
    """The blocks with channels of their own, in the order of the backbone."""
    found = []
    for module in backbone.modules():
        layers = list(getattr(module, "block", ()))
        squeeze = layers.pop(2) if len(layers) == 4 and isinstance(layers[2], SqueezeExcitation) else None
        if len(layers) == 3 and all(isinstance(layer, nn.Sequential) for layer in layers):
            found.append(Block(layers[0], layers[1], squeeze, layers[2]))
    return found


def narrow(backbone: nn.Module, kept: Sequence[Tensor]) -> None:
    """Keeps, per block, these channels inside, in place.

    Raises:
        ValueError: the backbone has another number of blocks, or a block fewer channels.
    """
    blocks = blocks_of(backbone)
    if len(kept) != len(blocks):
        raise ValueError(f"backbone_widths: {len(kept)} numbers for the {len(blocks)} blocks of the backbone")
    for block, channels in zip(blocks, kept, strict=True):
        if not 0 < len(channels) <= block.width:
            raise ValueError(f"backbone_widths: {len(channels)}: the block has {block.width} channels")
        _narrow(block, channels)


def widths(numbers: Sequence[int]) -> list[Tensor]:
    """The first so many channels of each block."""
    return [torch.arange(number) for number in numbers]


def _narrow(block: Block, channels: Tensor) -> None:
    for convolution in (block.expand[0], block.depthwise[0]):
        convolution.weight = nn.Parameter(convolution.weight.detach()[channels])
        convolution.out_channels = len(channels)
    block.depthwise[0].in_channels = block.depthwise[0].groups = len(channels)
    for norm in (block.expand[1], block.depthwise[1]):
        norm.num_features = len(channels)
        norm.weight, norm.bias = (nn.Parameter(one.detach()[channels]) for one in (norm.weight, norm.bias))
        norm.running_mean, norm.running_var = norm.running_mean[channels], norm.running_var[channels]
    if block.squeeze is not None:
        down, up = block.squeeze.fc1, block.squeeze.fc2
        down.weight, down.in_channels = nn.Parameter(down.weight.detach()[:, channels]), len(channels)
        up.weight, up.bias = nn.Parameter(up.weight.detach()[channels]), nn.Parameter(up.bias.detach()[channels])
        up.out_channels = len(channels)
    block.project[0].weight = nn.Parameter(block.project[0].weight.detach()[:, channels])
    block.project[0].in_channels = len(channels)
