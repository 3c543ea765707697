"""Parts -> F by message passing: cells, tokens and the places of every further part are nodes of one graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker.model.fusion.parts import Fusion, Part, Readout, masked_softmax

_SLOPE = 0.2  # Of the leaky rectifier, as in the source.
_LAYERS = 2  # Two hops: a cell hears of another cell through the token that both are joined to.


class GraphAttention(nn.Module):
    """x'_i = sum over j of a_ij W x_j, a_ij = softmax_j leaky_relu(s . W x_j + t . W x_i), by heads.

    Source: graph attention networks (Velickovic et al., ICLR 2018), equations 1 to 5, on a dense adjacency.
    """

    def __init__(self, dim: int, heads: int) -> None:
        """`dim` is D, a multiple of `heads`, H."""
        super().__init__()
        self.heads = heads
        self.weight = nn.Linear(dim, dim, bias=False)
        self.source = nn.Parameter(torch.empty(heads, dim // heads))
        self.target = nn.Parameter(torch.empty(heads, dim // heads))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.xavier_uniform_(self.weight.weight)
        nn.init.xavier_uniform_(self.source)
        nn.init.xavier_uniform_(self.target)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """`nodes` [B, V, D], `edges` [B, V, V], True where node i (row) hears node j -> [B, V, D]."""
        values = self.weight(nodes).unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, H, V, D/H]
        heard = torch.einsum("bhvd,hd->bhv", values, self.source)[:, :, None, :]  # of j
        hearing = torch.einsum("bhvd,hd->bhv", values, self.target)[:, :, :, None]  # of i
        attention = masked_softmax(F.leaky_relu(heard + hearing, _SLOPE), edges[:, None])  # [B, H, V, V]
        messages: Tensor = (attention @ values).transpose(1, 2).flatten(2) + self.bias
        return messages


class GraphFusion(Fusion):
    """A node hears its neighbours in its own part (in the 7x7 map those that touch it, else the one before and after)
    and every node of the other parts; after two rounds a gate weighs the nodes, and F is read out of their sums."""

    def __init__(self, sides: Sequence[int | None], dim: int, heads: int) -> None:
        """`sides` per part: the side of its square map, or None for a sequence; `dim` is D."""
        super().__init__()
        self.sides = tuple(sides)
        self.layers = nn.ModuleList(GraphAttention(dim, heads) for _ in range(_LAYERS))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(_LAYERS))
        self.gate = nn.Linear(dim, 1)
        self.out = Readout(len(self.sides), dim)

    def prepare(self, number: int, part: Part) -> Part:
        """The part itself."""
        return part

    def fuse(self, prepared: Sequence[Part]) -> tuple[Tensor, list[Tensor]]:
        """As `Fusion.fuse`; the weights are the read-out's."""
        nodes = torch.cat([part.features for part in prepared], dim=1)  # [B, V, D]
        mask = torch.cat([part.mask for part in prepared], dim=1)  # [B, V]
        far = [~neighbours(part, side) for part, side in zip(prepared, self.sides, strict=True)]
        edges = ~torch.block_diag(*far)  # type: ignore[no-untyped-call]  # [V, V]
        # A masked node is heard by none; it hears itself, so that its own row is not empty, and is not read out.
        alone = torch.eye(len(edges), dtype=torch.bool, device=edges.device)
        heard = (edges & mask[:, None, :]) | alone  # [B, V, V]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            nodes = norm(nodes + F.elu(layer(nodes, heard)))
        places = [part.mask.shape[1] for part in prepared]
        weights = torch.split(masked_softmax(self.gate(nodes).squeeze(2), mask), places, dim=1)  # [B, N] each
        sums = [torch.einsum("bn,bnd->bd", *one) for one in zip(weights, torch.split(nodes, places, 1), strict=True)]
        return self.out(sums), list(weights)


def neighbours(part: Part, side: int | None) -> Tensor:
    """The adjacency of a part's own places, [N, N]."""
    places = torch.arange(part.mask.shape[1], device=part.mask.device)
    rows = places if side is None else places // side
    near = (rows[:, None] - rows[None, :]).abs() <= 1
    if side is not None:
        columns = places % side
        near &= (columns[:, None] - columns[None, :]).abs() <= 1
    return near
