"""Fusion by attention is the article's formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from worker.model.fusion.attention import AttentionFusion


def _given(dim: int = 8, items: int = 3, cells: int = 49, tokens: int = 12) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    made = torch.Generator().manual_seed(1)
    image = torch.randn(items, cells, dim, generator=made, dtype=torch.float64)
    text = torch.randn(items, tokens, dim, generator=made, dtype=torch.float64)
    return image, text, torch.ones(items, cells, dtype=torch.bool), torch.ones(items, tokens, dtype=torch.bool)


@pytest.mark.parametrize("glimpses", [1, 2, 4])
def test_f_is_the_sum_over_cells_and_tokens(glimpses: int) -> None:
    """F equals einsum over A, I and T, glimpse by glimpse, to 1e-9."""
    fusion = AttentionFusion(8, glimpses).double()
    image, text, *masks = _given()
    fused, attention = fusion(image, text, *masks)
    groups = (3, -1, glimpses, 8 // glimpses)
    wanted = torch.einsum(
        "bgnt,bngd,btgd->bgd", attention, fusion.image_value(image).view(groups), fusion.text_value(text).view(groups)
    )
    torch.testing.assert_close(fused, wanted.flatten(1), rtol=0, atol=1e-9)


def test_attention_is_a_bilinear_softmax() -> None:
    """With one glimpse A is the softmax over all pairs of torch's bilinear form, scaled by the root of D."""
    fusion = AttentionFusion(8, 1).double()
    image, text, *masks = _given(items=1)
    weight = (fusion.image_query.weight.T @ fusion.text_query.weight)[None]
    with torch.no_grad():
        fusion.image_query.bias.zero_()
        fusion.text_query.bias.zero_()
    pairs = [(i, j) for i in range(49) for j in range(12)]
    left, right = (torch.stack([side[0, pair[n]] for pair in pairs]) for n, side in enumerate((image, text)))
    energy = nn.functional.bilinear(left, right, weight).view(-1) / 8**0.5
    torch.testing.assert_close(fusion.attend(image, text, *masks).flatten(), energy.softmax(0), rtol=0, atol=1e-9)


def test_gradients_are_right() -> None:
    """The backward pass agrees with finite differences."""
    fusion = AttentionFusion(4, 2).double()
    image, text, cell_mask, token_mask = _given(dim=4, items=2, cells=3, tokens=2)
    image.requires_grad_()
    text.requires_grad_()
    assert torch.autograd.gradcheck(lambda i, t: fusion(i, t, cell_mask, token_mask)[0], (image, text))


def test_masked_places_weigh_nothing() -> None:
    """What stands in a masked cell or token changes nothing, and every map sums to 1 over the rest."""
    fusion = AttentionFusion(8, 2).double()
    image, text, cell_mask, token_mask = _given()
    cell_mask[:, 5:], token_mask[:, 3:] = False, False
    fused, attention = fusion(image, text, cell_mask, token_mask)
    image[:, 5:], text[:, 3:] = 1e6, -1e6
    torch.testing.assert_close(fusion(image, text, cell_mask, token_mask)[0], fused, rtol=0, atol=0)
    assert attention[:, :, 5:].abs().max() == 0
    assert attention[:, :, :, 3:].abs().max() == 0
    torch.testing.assert_close(attention.sum((2, 3)), torch.ones(3, 2, dtype=torch.float64))


def test_the_articles_worked_case() -> None:
    """A 7x7 map and 12 tokens give an F of 512 numbers."""
    fused, attention = AttentionFusion(512, 4).double()(*_given(dim=512, items=1))
    assert fused.shape == (1, 512)
    assert attention.shape == (1, 4, 49, 12)
