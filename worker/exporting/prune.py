"""FusionModel -> one with fewer channels, in the same directory format; what is left is to be trained on."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from worker.errors import ConfigError
from worker.model.config import FusionConfig
from worker.model.encoders import ImageEncoder
from worker.model.fusion.attention import AttentionFusion
from worker.model.fusion_model import FusionModel
from worker.model.narrow import blocks_of, narrow

# What vector units take at once: channels that are no multiple of it cost as much as the next that are.
_STEP = 8


@torch.no_grad()
def pruned(model: FusionModel, share: float) -> FusionModel:
    """A copy without this share of the channels inside the backbone's blocks, of the text encoder's inner layers, and
    of the pairs that an attention fusion multiplies; those with the smallest weights go.

    Raises:
        ConfigError: the model has none of them.
    """
    whole = copy.deepcopy(model).eval()
    config = FusionConfig(**whole.config.to_dict())
    config.packages = {}  # What is narrower than in its package goes into the folder.
    _backbone(whole, config, share)
    _inner(whole, config, share)
    _pairs(whole, config, share)
    if (config.backbone_widths, config.text, config.rank) == (
        model.config.backbone_widths, model.config.text, model.config.rank,
    ):  # fmt: skip
        raise ConfigError(
            f"--to pruned: nothing in this model can be made {share:.0%} narrower: it can in backbones of inverted "
            "residuals (mobilenet_v3_*, efficientnet_*), in BERT's inner layers and in attention fusion"
        )
    # Made anew from its configuration: what is saved is what `load` will build.
    made = FusionModel(config)
    made.load_state_dict(whole.state_dict())
    return made


def _left(width: int, share: float, step: int = _STEP) -> int:
    return min(width, max(step, round(width * (1 - share) / step) * step))


def _strongest(weighs: Tensor, count: int) -> Tensor:
    """Their places, in order."""
    return weighs.topk(count).indices.sort().values


def _backbone(model: FusionModel, config: FusionConfig, share: float) -> None:
    if "image" not in model.encoders:
        return
    encoder = model.encoders["image"]
    assert isinstance(encoder, ImageEncoder)
    kept = [_strongest(block.weighs, _left(block.width, share)) for block in blocks_of(encoder.backbone)]
    if kept:
        narrow(encoder.backbone, kept)
        config.backbone_widths = [len(one) for one in kept]


def _inner(model: FusionModel, config: FusionConfig, share: float) -> None:
    """The wide layer between the two dense ones of each block of a BERT."""
    if "text" not in model.encoders:
        return
    blocks: list[Any] = [m for m in model.encoders["text"].modules() if hasattr(m, "intermediate")]
    if not blocks or "intermediate_size" not in config.text:
        return
    count = _left(config.text["intermediate_size"], share)
    for block in blocks:
        rise, fall = block.intermediate.dense, block.output.dense
        channels = _strongest(rise.weight.norm(dim=1) * fall.weight.norm(dim=0), count)
        _take(rise, channels)
        fall.weight, fall.in_features = nn.Parameter(fall.weight[:, channels]), count
    config.text = {**config.text, "intermediate_size": count}


def _pairs(model: FusionModel, config: FusionConfig, share: float) -> None:
    """The numbers of queries and of values, in every glimpse as many: queries meet queries and values meet values, so
    that a number goes in all parts or in none."""
    fusion = model.fusion
    if not isinstance(fusion, AttentionFusion):
        return
    width = config.rank or config.dim
    inner = width // fusion.glimpses
    count = _left(inner, share)
    out = fusion.out.weight if isinstance(fusion.out, nn.Linear) else torch.eye(width)
    queries = _of_each_glimpse(_together(fusion.query), fusion.glimpses, count)
    values = _of_each_glimpse(_together(fusion.value) * out.norm(dim=0), fusion.glimpses, count)
    query: list[Any] = list(fusion.query)
    for layer in query:
        _take(layer, queries)
        # An energy is divided by the square root of its count of numbers: it shall stay what it was.
        for one in (layer.weight, layer.bias):
            one.mul_((count / inner) ** 0.25)
    for layer in fusion.value:
        _take(layer, values)
    bias = fusion.out.bias if isinstance(fusion.out, nn.Linear) else torch.zeros(config.dim)
    fusion.out = nn.Linear(len(values), config.dim)
    fusion.out.weight.copy_(out[:, values])
    fusion.out.bias.copy_(bias)
    config.rank = count * fusion.glimpses


def _together(layers: nn.ModuleList) -> Tensor:
    """Per number the product of its weights' norms over the parts that it joins."""
    norms = torch.stack([layer.get_parameter("weight").norm(dim=1) for layer in layers])
    return norms.log().mean(dim=0).exp()


def _of_each_glimpse(weighs: Tensor, glimpses: int, count: int) -> Tensor:
    inner = len(weighs) // glimpses
    found = [_strongest(one, count) + number * inner for number, one in enumerate(weighs.view(glimpses, -1))]
    return torch.cat(found)


def _take(layer: Any, rows: Tensor) -> None:
    layer.weight, layer.bias = nn.Parameter(layer.weight[rows]), nn.Parameter(layer.bias[rows])
    layer.out_features = len(rows)
