"""Cells [B, N, D] and tokens [B, T, D] -> fused [B, D]: bilinear attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionFusion(nn.Module):
    """F = sum over i, j of A_ij (I_i * T_j), with A a softmax over all valid pairs of a cell and a token.

    With G glimpses the D features fall into G groups, each with an attention map of its own, as the heads of
    multi-head attention do. Source: bilinear attention networks (Kim, Jun, Zhang, NeurIPS 2018), equations 5 to 8.
    """

    def __init__(self, dim: int, glimpses: int) -> None:
        """`dim` is D, a multiple of `glimpses`, G."""
        super().__init__()
        self.glimpses = glimpses
        self.image_query = nn.Linear(dim, dim)
        self.text_query = nn.Linear(dim, dim)
        self.image_value = nn.Linear(dim, dim)
        self.text_value = nn.Linear(dim, dim)

    def forward(self, cells: Tensor, tokens: Tensor, cell_mask: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Fuses.

        Args:
            cells: I, [B, N, D].
            tokens: T, [B, T, D].
            cell_mask: [B, N], True where there is a cell; at least one per row.
            token_mask: [B, T], likewise.

        Returns:
            F [B, D], and A [B, G, N, T], whose every map sums to 1 and is 0 outside the masks.
        """
        attention = self.attend(cells, tokens, cell_mask, token_mask)  # [B, G, N, T]
        image, text = self._split(self.image_value(cells)), self._split(self.text_value(tokens))
        # Summed over tokens first: [B, G, N, D/G] is far smaller than the outer product over i and j.
        fused = (image * (attention @ text)).sum(dim=2)  # [B, G, D/G]
        return fused.flatten(1), attention

    def attend(self, cells: Tensor, tokens: Tensor, cell_mask: Tensor, token_mask: Tensor) -> Tensor:
        """A [B, G, N, T]."""
        image, text = self._split(self.image_query(cells)), self._split(self.text_query(tokens))
        energy = image @ text.transpose(2, 3) / image.shape[-1] ** 0.5  # [B, G, N, T]
        valid = (cell_mask[:, :, None] & token_mask[:, None, :])[:, None]  # [B, 1, N, T]
        energy = energy.masked_fill(~valid, torch.finfo(energy.dtype).min)
        attention: Tensor = energy.flatten(2).softmax(dim=-1).view_as(energy)
        return attention.masked_fill(~valid, 0.0)

    def _split(self, features: Tensor) -> Tensor:
        """[B, N, D] -> [B, G, N, D/G]."""
        items, places, _ = features.shape
        return features.view(items, places, self.glimpses, -1).transpose(1, 2)
