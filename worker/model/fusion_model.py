"""Inputs of any modality, some of them missing -> logits [B, K], columns of heads [B, E], and the fused F [B, D]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from worker.model.backbones import MAP_SIDE
from worker.model.config import FusionConfig
from worker.model.constant import Constant
from worker.model.cuda import summed
from worker.model.encoders import encoder_of, places_of
from worker.model.fusion.attention import AttentionFusion
from worker.model.fusion.cross_attention import CrossAttentionFusion
from worker.model.fusion.dense import DenseFusion
from worker.model.fusion.graph import GraphFusion
from worker.model.fusion.parts import Fusion, Part, masked_mean
from worker.model.heads import Heads
from worker.model.packages import own
from worker.model.timing import Timing


@dataclass
class FusionOutput(ModelOutput):  # type: ignore[misc]
    """What the model says.

    Attributes:
        logits: [B, K].
        fused: F, [B, D].
        pooled: per input its features' mean before fusion, [B, D] each; of a missing one the learned token.
        views: likewise what tells how familiar it is: `pooled`, or what an earlier layer tells.
        present: per input, [B], False where it is missing.
        weights: per input what each of its places weighed, [B, N]; with evidence.
        coalitions: [B, 2^inputs, K], the logits of every set of the inputs; bit n of a set's number is input n; with
            evidence.
        heads, head_coalitions: as logits and coalitions, of the further heads' columns, [B, E] and [B, 2^inputs, E]; of
            a model that has any.
    """

    logits: Tensor = None  # type: ignore[assignment]
    fused: Tensor = None  # type: ignore[assignment]
    pooled: tuple[Tensor, ...] = None  # type: ignore[assignment]
    views: tuple[Tensor, ...] = None  # type: ignore[assignment]
    present: tuple[Tensor, ...] = None  # type: ignore[assignment]
    weights: tuple[Tensor, ...] = None  # type: ignore[assignment]
    coalitions: Tensor = None  # type: ignore[assignment]
    heads: Tensor | None = None
    head_coalitions: Tensor | None = None


def fusion_of(config: FusionConfig) -> Fusion:
    """The fusion that a configuration names."""
    parts, dim = len(config.inputs), config.dim
    if config.fusion == "attention":
        return AttentionFusion(parts, dim, config.glimpses, config.rank)
    if config.fusion == "dense":
        return DenseFusion(parts, dim)
    if config.fusion == "graph":
        sides = [MAP_SIDE if modality == "image" else None for modality in config.inputs]
        return GraphFusion(sides, dim, config.glimpses)
    return CrossAttentionFusion(parts, dim, config.glimpses)


class FusionModel(PreTrainedModel):  # type: ignore[misc]
    """An encoder per modality, one fusion, one linear layer: its first K columns are the label's, the rest of heads.

    Inputs of one modality share its encoder; a learned vector per input tells them apart. A missing input is one
    learned token with the rest of its places masked; training with modality dropout gives it its meaning. Several
    bodies of one input, such as the frames of a window, are pooled place by place with learned weights.
    """

    config_class = FusionConfig
    base_model_prefix = "fusion"
    _no_split_modules: list[str] = []  # noqa: RUF012  the name and kind that transformers asks for

    def __init__(self, config: FusionConfig) -> None:
        super().__init__(config)
        inputs, dim = len(config.inputs), config.dim
        self.encoders = nn.ModuleDict({name: encoder_of(name, config) for name in dict.fromkeys(config.inputs)})
        self.role = nn.Parameter(torch.zeros(inputs, dim))
        self.missing = nn.Parameter(torch.zeros(inputs, dim))
        self.moment = nn.ModuleDict({name: nn.Linear(dim, 1) for name in self.encoders})
        self.timing = nn.ModuleDict({name: Timing(dim) for name in self.encoders} if config.times else {})
        self.fusion = fusion_of(config)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(dim, config.num_labels + Heads(config.heads).width)
        self.additions: dict[str, Tensor] = {}  # To weights that a package holds: packages.py.
        self.post_init()

    def save_pretrained(self, folder: Path, **more: Any) -> None:
        """As transformers does, without what packages hold."""
        kept = own(self.state_dict(), self.config.packages, self.additions)
        super().save_pretrained(folder, state_dict=kept, **more)

    def _init_weights(self, module: nn.Module) -> None:
        """Encoders and fusion keep the start that their own authors gave them; pooling starts as the mean."""
        if isinstance(module, Constant):
            module.fill()
        if module is self:
            nn.init.normal_(self.missing, std=0.5)
            nn.init.normal_(self.role, std=0.02)
            for weight in (one.get_parameter("weight") for one in self.moment.values()):
                nn.init.zeros_(weight)

    def forward(
        self, bodies: Sequence[Tensor], item_of: Sequence[Tensor], items: int, evidence: bool = False,
        when: Sequence[Tensor] = (),
    ) -> FusionOutput:  # fmt: skip
        """Fuses a batch of B items.

        Args:
            bodies: per input, in the order of `config.inputs`, the M bodies that the items together have; M may be 0.
                Image [M, 3, H, W] uint8 RGB; text [M, T]; sensor [M, S, C], or with `times` [M, S, C + 1];
                audio [M, F, L].
            item_of: per input [M], the item that each body belongs to; an item without one lacks this input.
            items: B.
            when: with `times`, per input [M, 2]: each body's seconds after the anchor, and how many of its window are
                newer.
            evidence: also tell what every set of the inputs says, and what their places weigh.
        """
        times: Sequence[Tensor | None] = when or [None] * len(bodies)
        given = zip(bodies, item_of, times, strict=True)
        encoded = [self._part(number, *one, items) for number, one in enumerate(given)]
        parts, present = [part for part, _, _ in encoded], tuple(there for _, there, _ in encoded)
        prepared = [self.fusion.prepare(number, part) for number, part in enumerate(parts)]
        fused, weights = self.fusion.fuse(prepared)
        fused = self.norm(fused)
        pooled = tuple(masked_mean(*part) for part in parts)
        views = tuple(mean if view is None else view for mean, (_, _, view) in zip(pooled, encoded, strict=True))
        columns = self.head(self.dropout(fused))
        logits, heads = self._split(columns)
        out = FusionOutput(logits=logits, fused=fused, pooled=pooled, views=views, present=present, heads=heads)
        if evidence:
            out.weights = tuple(weights)
            out.coalitions, out.head_coalitions = self._split(self._coalitions(prepared, columns))
        return out

    def _split(self, columns: Tensor) -> tuple[Tensor, Tensor | None]:
        """[..., K + E] -> the label's and the further heads'; the only place where they are told apart."""
        if not self.config.heads:
            return columns, None
        return columns[..., : self.config.num_labels], columns[..., self.config.num_labels :]

    def _coalitions(self, prepared: Sequence[object], together: Tensor) -> Tensor:
        """All columns of every set of the inputs, [B, 2^inputs, K + E]; `together` are those of all inputs."""
        numbers, items = range(len(prepared)), together.shape[0]
        absent = [self.fusion.prepare(n, self._absent(n, 1, 1)) for n in numbers]
        nothing = self._say(absent).expand(items, -1)  # Alike for every item.
        everywhere = [_repeated(one, items) for one in absent]
        some = [
            self._say([prepared[n] if chosen >> n & 1 else everywhere[n] for n in numbers])
            for chosen in range(1, 2 ** len(numbers) - 1)
        ]
        return torch.stack([nothing, *some, together], 1)

    def _say(self, prepared: Sequence[object]) -> Tensor:
        logits: Tensor = self.head(self.norm(self.fusion.fuse(prepared)[0]))
        return logits

    def _absent(self, number: int, items: int, places: int) -> Part:
        """A missing input: its token at the first place."""
        features = self.missing[number].expand(items, places, -1)
        return Part(features, (torch.arange(places, device=features.device) == 0).expand(items, -1))

    def _part(
        self, number: int, bodies: Tensor, item_of: Tensor, when: Tensor | None, items: int
    ) -> tuple[Part, Tensor, Tensor | None]:
        """The input as one Part, where it is present, [B], and its view, [B, D], where its encoder has one."""
        modality = self.config.inputs[number]
        absent = self._absent(number, items, places_of(modality, self.config))
        if not bodies.shape[0]:
            return absent, absent.mask.new_zeros(items), None
        features, mask, *views = self.encoders[modality](bodies)  # [M, N, D], [M, N], [M, D]
        if when is not None:
            features = self.timing[modality](features, when)
        weight = self._weight(modality, features, item_of, items)  # [M]
        pooled = summed(features.new_zeros(absent.features.shape), item_of, features * weight[:, None, None])
        seen = summed(features.new_zeros(absent.mask.shape), item_of, mask.to(features.dtype)) > 0
        present = torch.zeros_like(seen[:, 0]).index_fill(0, item_of, True)
        features = torch.where(present[:, None, None], pooled + self.role[number], absent.features)
        part = Part(features, seen | (absent.mask & ~present[:, None]))
        nothing = features.new_zeros(items, features.shape[2])
        return part, present, summed(nothing, item_of, views[0] * weight[:, None]) if views else None

    def _weight(self, modality: str, features: Tensor, item_of: Tensor, items: int) -> Tensor:
        """How much each body of an item counts, [M]; the bodies of an item sum to 1."""
        energy = self.moment[modality](features.mean(dim=1)).squeeze(1).float()  # [M]
        highest = energy.new_full((items,), -torch.inf).scatter_reduce(0, item_of, energy, "amax")
        raised = (energy - highest[item_of]).exp()
        total = summed(torch.zeros(items, device=raised.device), item_of, raised)
        weight: Tensor = (raised / total[item_of]).to(features.dtype)
        return weight


def _repeated(prepared: object, items: int) -> object:
    """What was prepared of one item, for each of B; copied, since products of expanded tensors take twice as long."""
    return tree_map(lambda one: one.expand(items, *one.shape[1:]).contiguous(), prepared)
