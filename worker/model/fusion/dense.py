"""Parts -> F by dense connection: F = W2 gelu(W1 [norm(mean I); norm(mean T); ...])."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker.model.fusion.parts import Fusion, Part, masked_softmax


class _Pooled(NamedTuple):
    vector: Tensor  # [B, D]
    weights: Tensor  # [B, N]


class DenseFusion(Fusion):
    """Every part is pooled by a learned weight per place; the vectors go side by side through two dense layers.

    Pooled vectors are mostly what all items have in common, and two layers hear of a product of parts only through what
    differs: without the batch norm the digits, where nothing but the product tells, stayed at chance (12 epochs), with
    a layer norm nearly so, with it they are learned in 4.
    """

    def __init__(self, parts: int, dim: int) -> None:
        """`dim` is D."""
        super().__init__()
        self.gate = nn.ModuleList(nn.Linear(dim, 1) for _ in range(parts))
        self.norm = nn.ModuleList(nn.BatchNorm1d(dim) for _ in range(parts))
        self.inner = nn.Linear(parts * dim, 2 * dim)
        self.outer = nn.Linear(2 * dim, dim)

    def prepare(self, number: int, part: Part) -> _Pooled:
        """The part's mean, weighted by its gate, normalised."""
        weights = masked_softmax(self.gate[number](part.features).squeeze(2), part.mask)
        pooled = torch.einsum("bn,bnd->bd", weights, part.features)
        return _Pooled(self.norm[number](pooled), weights)

    def fuse(self, prepared: Sequence[_Pooled]) -> tuple[Tensor, list[Tensor]]:
        """As `Fusion.fuse`; each part's weights sum to 1 / parts."""
        joined = torch.cat([one.vector for one in prepared], dim=1)  # [B, parts * D]
        fused: Tensor = self.outer(F.gelu(self.inner(joined)))
        return fused, [one.weights / len(prepared) for one in prepared]
