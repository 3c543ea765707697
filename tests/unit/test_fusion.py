"""Each fusion is its formula, held against einsum, torch's bilinear form, torch-geometric and torch's attention."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import bilinear, scaled_dot_product_attention
from torch_geometric.nn import GATConv

from worker.model.fusion.attention import AttentionFusion
from worker.model.fusion.cross_attention import CrossAttentionFusion
from worker.model.fusion.dense import DenseFusion
from worker.model.fusion.graph import GraphAttention, GraphFusion, neighbours
from worker.model.fusion.parts import Fusion, Part

KINDS: dict[str, Callable[[int, int], Fusion]] = {
    "attention": lambda parts, dim: AttentionFusion(parts, dim, 2),
    "low-rank attention": lambda parts, dim: AttentionFusion(parts, dim, 2, rank=4),
    "dense": lambda parts, dim: DenseFusion(parts, dim),
    "graph": lambda parts, dim: GraphFusion([7, *([None] * (parts - 1))], dim, 2),
    "cross-attention": lambda parts, dim: CrossAttentionFusion(parts, dim, 2),
}


def given(dim: int = 8, items: int = 3, places: tuple[int, ...] = (49, 12)) -> list[Part]:
    """Parts of random features, nothing masked."""
    made = torch.Generator().manual_seed(1)
    features = [torch.randn(items, n, dim, generator=made, dtype=torch.float64) for n in places]
    return [Part(one, torch.ones(one.shape[:2], dtype=torch.bool)) for one in features]


def fusion(kind: str, parts: int = 2, dim: int = 8) -> Fusion:
    """One of KINDS in double precision, with weights of its own."""
    torch.manual_seed(2)
    return KINDS[kind](parts, dim).double()


@pytest.mark.parametrize("glimpses", [1, 2, 4])
def test_f_is_the_sum_over_cells_and_tokens(glimpses: int) -> None:
    """F = sum_ij A_ij I_i T_j equals einsum over A, I and T, glimpse by glimpse."""
    made, (image, text) = AttentionFusion(2, 8, glimpses).double(), given()
    fused, _ = made([image, text])
    prepared = [made.prepare(0, image), made.prepare(1, text)]
    attention = made.attend(prepared)[0, 1]
    groups = (3, -1, glimpses, 8 // glimpses)
    wanted = torch.einsum(
        "bgnt,bngd,btgd->bgd",
        attention,
        made.value[0](image.features).view(groups),
        made.value[1](text.features).view(groups),
    )
    torch.testing.assert_close(fused, wanted.flatten(1), rtol=0, atol=1e-6)


def test_attention_is_a_bilinear_softmax() -> None:
    """With one glimpse A is the softmax over all pairs of torch's bilinear form, scaled by the root of D."""
    made, (image, text) = AttentionFusion(2, 8, 1).double(), given(items=1)
    with torch.no_grad():
        made.query[0].bias.zero_()
        made.query[1].bias.zero_()
    weight = (made.query[0].weight.T @ made.query[1].weight)[None]
    pairs = [(i, j) for i in range(49) for j in range(12)]
    left, right = (torch.stack([side.features[0, pair[n]] for pair in pairs]) for n, side in enumerate((image, text)))
    energy = bilinear(left, right, weight).view(-1) / 8**0.5
    attention = made.attend([made.prepare(0, image), made.prepare(1, text)])[0, 1]
    torch.testing.assert_close(attention.flatten(), energy.softmax(0), rtol=0, atol=1e-6)


def test_low_rank_is_a_bilinear_form_of_that_rank() -> None:
    """Of one cell and one token F is torch's bilinear form, whose K slices together have rank R."""
    made = AttentionFusion(2, 6, 1, rank=2).double()
    with torch.no_grad():
        made.value[0].bias.zero_()
        made.value[1].bias.zero_()
    image, text = given(dim=6, places=(1, 1))
    assert isinstance(made.out, nn.Linear)
    weight = torch.einsum("kr,ri,rj->kij", made.out.weight, made.value[0].weight, made.value[1].weight)
    wanted = bilinear(image.features[:, 0], text.features[:, 0], weight, made.out.bias)
    torch.testing.assert_close(made([image, text])[0], wanted, rtol=0, atol=1e-6)
    assert int(torch.linalg.matrix_rank(weight.flatten(1))) == 2


def test_three_inputs_share_one_softmax_over_all_pairs() -> None:
    """F is the sum over the pairs of every two inputs, and all maps of a glimpse together sum to 1."""
    made, parts = AttentionFusion(3, 8, 2).double(), given(places=(49, 12, 5))
    prepared = [made.prepare(n, part) for n, part in enumerate(parts)]
    maps = made.attend(prepared)
    assert sorted(maps) == [(0, 1), (0, 2), (1, 2)]
    total = sum(one.sum((2, 3)) for one in maps.values())
    torch.testing.assert_close(total, torch.ones(3, 2, dtype=torch.float64))
    wanted = sum(
        torch.einsum("bgnt,bgnd,bgtd->bgd", one, prepared[m].value, prepared[n].value) for (m, n), one in maps.items()
    )
    assert isinstance(wanted, Tensor)
    torch.testing.assert_close(made(parts)[0], wanted.flatten(1), rtol=0, atol=1e-6)


def test_dense_is_two_layers_on_the_gated_means() -> None:
    """With gates of 0 the means are plain, and F equals torch's own layers on what lies about the running mean."""
    made, parts = DenseFusion(2, 8).double().eval(), given()
    middle = torch.randn(16, dtype=torch.float64)
    with torch.no_grad():
        for gate in made.gate:
            gate.weight.zero_()
        for norm, mean in zip(made.out.norm, middle.split(8), strict=True):
            norm.running_mean.copy_(mean)
    means = torch.cat([part.features.mean(dim=1) for part in parts], dim=1)
    layers = nn.Sequential(made.out.inner, nn.GELU(), made.out.outer)
    wanted = layers((means - middle) / (1 + made.out.norm[0].eps) ** 0.5)
    torch.testing.assert_close(made(parts)[0], wanted, rtol=0, atol=1e-6)


def test_message_passing_is_torch_geometrics() -> None:
    """One layer on a random graph gives what GATConv gives with the same weights."""
    made = torch.Generator().manual_seed(3)
    ours, theirs = GraphAttention(8, 2).double(), GATConv(8, 4, heads=2, add_self_loops=False).double()
    with torch.no_grad():
        ours.bias.copy_(torch.randn(8, generator=made, dtype=torch.float64))
        theirs.lin.weight.copy_(ours.weight.weight)
        theirs.att_src.copy_(ours.source[None])
        theirs.att_dst.copy_(ours.target[None])
        theirs.bias.copy_(ours.bias)
    nodes = torch.randn(1, 20, 8, generator=made, dtype=torch.float64)
    edges = (torch.rand(1, 20, 20, generator=made) < 0.3) | torch.eye(20, dtype=torch.bool)
    target, source = edges[0].nonzero(as_tuple=True)
    wanted = theirs(nodes[0], torch.stack([source, target]))
    torch.testing.assert_close(ours(nodes, edges)[0], wanted, rtol=0, atol=1e-6)


def test_the_graph_joins_neighbours_and_all_other_inputs() -> None:
    """A cell hears the cells that touch it, a token the one before and after it."""
    image, text = given()
    cells = neighbours(image, 7)
    assert cells[0].nonzero().flatten().tolist() == [0, 1, 7, 8]
    assert cells[24].nonzero().flatten().tolist() == [16, 17, 18, 23, 24, 25, 30, 31, 32]
    assert neighbours(text, None)[5].nonzero().flatten().tolist() == [4, 5, 6]


def test_cross_attention_is_torchs() -> None:
    """What a part is answered equals scaled_dot_product_attention over the others, masked places left out."""
    made, (image, text) = CrossAttentionFusion(2, 8, 2).double(), given()
    text.mask[:, 9:] = False
    asking, other = made.prepare(0, image), made.prepare(1, text)
    answer, _ = made.ask(asking, [other])
    mask = text.mask[:, None, None, :]
    wanted = scaled_dot_product_attention(asking.query, other.key, other.value, attn_mask=mask)
    torch.testing.assert_close(answer, wanted.transpose(1, 2).flatten(2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_right(kind: str) -> None:
    """The backward pass agrees with finite differences."""
    made, parts = fusion(kind, dim=4), given(dim=4, items=2, places=(3, 2))
    if isinstance(made, GraphFusion):
        made.sides = (None, None)
    features = [part.features.requires_grad_() for part in parts]

    def fused(*changed: Tensor) -> Tensor:
        return made([Part(one, part.mask) for one, part in zip(changed, parts, strict=True)])[0]

    assert torch.autograd.gradcheck(fused, tuple(features))


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_masked_places_weigh_nothing(kind: str, parts: int) -> None:
    """With any number of inputs, what stands in a masked place changes nothing, and weights are shares of 1."""
    made, some = fusion(kind, parts), given(places=(49, 12, 5, 1)[:parts])
    for part in some[:3]:
        part.mask[:, 3:] = False
    fused, weights = made(some)
    for part in some[:3]:
        part.features[:, 3:] = 1e6
    again, _ = made(some)
    torch.testing.assert_close(again, fused, rtol=0, atol=0)
    total = torch.zeros(3, dtype=torch.float64)
    for part, weight in zip(some, weights, strict=True):
        assert weight.shape == part.mask.shape
        assert not weight[~part.mask].any()
        total += weight.sum(dim=1)
    torch.testing.assert_close(total, torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_the_articles_worked_case(kind: str) -> None:
    """A 7x7 map and 12 tokens give an F of 512 numbers."""
    fused, weights = fusion(kind, dim=512).eval()(given(dim=512, items=1))
    assert fused.shape == (1, 512)
    assert [weight.shape for weight in weights] == [(1, 49), (1, 12)]
