"""Parts -> F by dense connection: F = W2 gelu(W1 [norm mean I; norm mean T; ...])."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from worker.model.fusion.parts import Fusion, Part, Readout, masked_softmax


class _Pooled(NamedTuple):
    vector: Tensor  # [B, D]
    weights: Tensor  # [B, N]


class DenseFusion(Fusion):
    """Every part is pooled by a learned weight per place; the vectors go side by side through two dense layers."""

    def __init__(self, parts: int, dim: int) -> None:
        """`dim` is D."""
        super().__init__()
        self.gate = nn.ModuleList(nn.Linear(dim, 1) for _ in range(parts))
        self.out = Readout(parts, dim)

    def prepare(self, number: int, part: Part) -> _Pooled:
        """The part's mean, weighted by its gate."""
        weights = masked_softmax(self.gate[number](part.features).squeeze(2), part.mask)
        return _Pooled(torch.einsum("bn,bnd->bd", weights, part.features), weights)

    def fuse(self, prepared: Sequence[_Pooled]) -> tuple[Tensor, list[Tensor]]:
        """As `Fusion.fuse`; each part's weights sum to 1 / parts."""
        return self.out([one.vector for one in prepared]), [one.weights / len(prepared) for one in prepared]
