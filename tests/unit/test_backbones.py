"""Stages of a backbone against the backbone, and what an early one tells of images that show nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from worker.model.backbones import EFFICIENTNET_LITE0, backbone_of, spread_of, stages_of, through, view_stage
from worker.model.config import FusionConfig
from worker.model.encoders import ImageEncoder


def pixels() -> Tensor:
    return torch.randint(0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(1)).float() / 255


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", EFFICIENTNET_LITE0])
@torch.no_grad()
def test_stages_one_after_the_other_are_the_backbone(name: str) -> None:
    """To the last digit."""
    backbone = backbone_of(name).eval()
    assert torch.equal(through(stages_of(backbone), pixels()), backbone(pixels()))


@pytest.mark.parametrize(
    ("name", "stage"), [("mobilenet_v3_small", 4), ("resnet18", 6), ("shufflenet_v2_x0_5", 3), (EFFICIENTNET_LITE0, 6)]
)
@torch.no_grad()
def test_the_view_is_of_the_last_map_with_a_place_for_8_x_8_pixels(name: str, stage: int) -> None:
    """28 x 28 of 224 x 224 pixels."""
    assert view_stage(name, 224) == stage
    assert through(stages_of(backbone_of(name).eval())[:stage], pixels()).shape[2:] == (28, 28)


def test_mean_and_spread_of_each_channel() -> None:
    """Of one channel of two values, and one of a single value."""
    maps = torch.tensor([[[[1.0, 3.0], [1.0, 3.0]], [[2.0, 2.0], [2.0, 2.0]]]])
    assert torch.allclose(spread_of(maps), torch.tensor([[2.0, 2.0, 0.0009995, -6.9077553]]), atol=1e-5)


@torch.no_grad()
def test_cells_are_the_same_with_a_view_and_an_unknown_stage_is_refused() -> None:
    """And in training there is no view."""
    torch.manual_seed(0)
    config = FusionConfig(inputs=["image"], backbone="shufflenet_v2_x0_5", dim=64)
    plain = ImageEncoder(config).eval()
    config.image_view = view_stage(config.backbone, config.image_size)
    seeing = ImageEncoder(config).eval()
    seeing.load_state_dict(plain.state_dict())
    shown = (pixels() * 255).to(torch.uint8)
    cells, _, view = seeing(shown)
    assert torch.equal(cells, plain(shown)[0])
    assert view.shape == (2, config.dim)
    assert len(seeing.train()(shown)) == 2
    config.image_view = 99
    with pytest.raises(ValueError, match="image_view = 99: backbone 'shufflenet_v2_x0_5' has no such stage"):
        ImageEncoder(config)
