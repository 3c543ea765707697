"""Parts -> F by cross-attention: every part asks all others, then the answers go side by side through dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from worker.model.fusion.parts import Fusion, Part, Readout, masked_mean, masked_softmax, split_heads


class _Projected(NamedTuple):
    part: Part
    query: Tensor  # [B, H, N, D/H]
    key: Tensor
    value: Tensor


class CrossAttentionFusion(Fusion):
    """For each part m: Y_m = norm(X_m + softmax(Q_m K_others^T / sqrt(d)) V_others); F is read out of their means.

    A single part asks itself. Source: scaled dot-product attention (Vaswani et al., NeurIPS 2017), equation 1; the
    two-way form is co-attention (Lu et al., ViLBERT, NeurIPS 2019).
    """

    def __init__(self, parts: int, dim: int, heads: int) -> None:
        """`dim` is D, a multiple of `heads`, H."""
        super().__init__()
        self.heads = heads
        self.query = nn.ModuleList(nn.Linear(dim, dim) for _ in range(parts))
        self.key = nn.ModuleList(nn.Linear(dim, dim) for _ in range(parts))
        self.value = nn.ModuleList(nn.Linear(dim, dim) for _ in range(parts))
        self.norm = nn.ModuleList(nn.LayerNorm(dim) for _ in range(parts))
        self.out = Readout(parts, dim)

    def prepare(self, number: int, part: Part) -> _Projected:
        """Queries, keys and values of one part."""
        made = (one[number](part.features) for one in (self.query, self.key, self.value))
        return _Projected(part, *(split_heads(one, self.heads) for one in made))

    def fuse(self, prepared: Sequence[_Projected]) -> tuple[Tensor, list[Tensor]]:
        """As `Fusion.fuse`; a place weighs what it was attended to, all weights summing to 1."""
        weights = [torch.zeros_like(one.part.features[:, :, 0]) for one in prepared]
        pooled = []
        for number, asking in enumerate(prepared):
            others = [n for n in range(len(prepared)) if n != number] or [number]
            answer, attention = self.ask(asking, [prepared[n] for n in others])
            mixed = self.norm[number](asking.part.features + answer)
            pooled.append(masked_mean(mixed, asking.part.mask))
            heard = masked_mean(attention.mean(dim=1), asking.part.mask) / len(prepared)  # [B, places of the others]
            for n, share in zip(
                others, torch.split(heard, [prepared[n].key.shape[2] for n in others], dim=1), strict=True
            ):
                weights[n] = weights[n] + share
        return self.out(pooled), weights

    def ask(self, asking: _Projected, others: Sequence[_Projected]) -> tuple[Tensor, Tensor]:
        """What the places of the others answer, [B, N, D], and the attention, [B, H, N, places of the others]."""
        key = torch.cat([one.key for one in others], dim=2)
        value = torch.cat([one.value for one in others], dim=2)
        mask = torch.cat([one.part.mask for one in others], dim=1)
        energy = asking.query @ key.transpose(2, 3) / key.shape[-1] ** 0.5
        attention = masked_softmax(energy, mask[:, None, None, :])
        return (attention @ value).transpose(1, 2).flatten(2), attention
