"""Parts -> F by bilinear attention: F = sum over i, j of A_ij I_i T_j."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from worker.model.fusion.parts import Fusion, Part, masked_softmax, split_heads


class _Projected(NamedTuple):
    query: Tensor  # [B, G, N, R/G]
    value: Tensor  # [B, G, N, R/G]
    mask: Tensor  # [B, N]


class AttentionFusion(Fusion):
    """F = sum over i, j of A_ij (I_i * T_j), with A a softmax over all valid pairs of a cell and a token.

    With more than two parts A is one softmax over the pairs of every two of them, and F the sum over all; a single
    part is paired with itself. With G glimpses the features fall into G groups, each with an attention map of its own,
    as the heads of multi-head attention do. With a rank R below D, queries and values have R numbers and a last
    projection brings F back to D. Source: bilinear attention networks (Kim, Jun, Zhang, NeurIPS 2018), equations 5
    to 8.
    """

    def __init__(self, parts: int, dim: int, glimpses: int, rank: int | None = None) -> None:
        """`dim` is D; `glimpses`, G, divides the rank, which is D when it is None."""
        super().__init__()
        self.glimpses = glimpses
        width = rank or dim
        self.query = nn.ModuleList(nn.Linear(dim, width) for _ in range(parts))
        self.value = nn.ModuleList(nn.Linear(dim, width) for _ in range(parts))
        self.out = nn.Linear(width, dim) if rank else nn.Identity()

    def prepare(self, number: int, part: Part) -> _Projected:
        """Queries and values of one part."""
        query, value = self.query[number](part.features), self.value[number](part.features)
        return _Projected(split_heads(query, self.glimpses), split_heads(value, self.glimpses), part.mask)

    def fuse(self, prepared: Sequence[_Projected]) -> tuple[Tensor, list[Tensor]]:
        """As `Fusion.fuse`; a place weighs what its pairs weigh, averaged over glimpses."""
        maps = self.attend(prepared)
        weights = [one.mask.new_zeros(one.mask.shape, dtype=one.value.dtype) for one in prepared]
        fused = torch.zeros_like(prepared[0].value[:, :, 0])  # [B, G, R/G]
        for (m, n), attention in maps.items():  # [B, G, N, T]
            # Summed over the second part first: [B, G, N, R/G] is far smaller than the outer product over i and j.
            fused = fused + (prepared[m].value * (attention @ prepared[n].value)).sum(dim=2)
            share = attention.mean(dim=1)  # [B, N, T]
            weights[m] = weights[m] + share.sum(dim=2) / 2
            weights[n] = weights[n] + share.sum(dim=1) / 2
        out: Tensor = self.out(fused.flatten(1))
        return out, weights

    def attend(self, prepared: Sequence[_Projected]) -> dict[tuple[int, int], Tensor]:
        """A [B, G, N, T] of every pair of parts; over all pairs a glimpse's maps sum to 1."""
        pairs = list(itertools.combinations(range(len(prepared)), 2)) or [(0, 0)]
        energies, valids = [], []
        for m, n in pairs:
            left, right = prepared[m], prepared[n]
            energies.append((left.query @ right.query.transpose(2, 3) / left.query.shape[-1] ** 0.5).flatten(2))
            valids.append((left.mask[:, None, :, None] & right.mask[:, None, None, :]).flatten(2))
        joint = masked_softmax(torch.cat(energies, dim=2), torch.cat(valids, dim=2))  # [B, G, all pairs]
        maps = torch.split(joint, [energy.shape[2] for energy in energies], dim=2)
        shapes = [(prepared[m].mask.shape[1], prepared[n].mask.shape[1]) for m, n in pairs]
        return {pair: one.view(*one.shape[:2], *shape) for pair, one, shape in zip(pairs, maps, shapes, strict=True)}
