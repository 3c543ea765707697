"""FusionOutput and labels [B] -> one loss: the weighted sum of cross-entropy, triplet and contrastive."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.model.fusion_model import FusionOutput

# The article's margin, between cosine distances that lie in 0..2.
MARGIN = 0.2
# CLIP's start value; lower and only the hardest pair counts, higher and none does.
TEMPERATURE = 0.07


@dataclass(frozen=True, slots=True)
class Weights:
    """What each loss counts; one of weight 0 is not computed.

    Attributes:
        label_smoothing: of the cross-entropy, 0..1.
        classes: [K], the cross-entropy's weight of each label; None: all alike.
    """

    cross_entropy: float = 1.0
    triplet: float = 0.2
    contrastive: float = 0.0
    label_smoothing: float = 0.0
    classes: tuple[float, ...] | None = None


def joint_loss(out: FusionOutput, labels: Tensor, weights: Weights) -> Tensor:
    """The weighted sum."""
    logits = out.logits.float()
    total = logits.sum() * 0.0
    if weights.cross_entropy:
        classes = logits.new_tensor(weights.classes) if weights.classes is not None else None
        total = total + weights.cross_entropy * F.cross_entropy(
            logits, labels, weight=classes, label_smoothing=weights.label_smoothing
        )
    if weights.triplet:
        total = total + weights.triplet * triplet_loss(out.fused, labels)
    if weights.contrastive:
        total = total + weights.contrastive * contrastive_loss(out.pooled, out.present)
    return total


def triplet_loss(fused: Tensor, labels: Tensor, margin: float = MARGIN) -> Tensor:
    """The mean over anchors of max(0, d(anchor, positive) - d(anchor, negative) + margin), the hardest of each.

    d is the cosine distance. An anchor without a positive or a negative in the batch does not count; a batch without
    any such anchor gives 0. Source: Hermans, Beyer, Leibe, "In defense of the triplet loss" (2017), batch hard.
    """
    unit = F.normalize(fused.float(), dim=-1)
    distance = 1 - unit @ unit.T  # [B, B]
    same = labels[:, None] == labels[None, :]
    others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = distance.masked_fill(~(same & others), -torch.inf).amax(dim=1)  # [B]
    negative = distance.masked_fill(same, torch.inf).amin(dim=1)  # [B]
    valid = positive.isfinite() & negative.isfinite()
    losses = F.relu(positive - negative + margin)[valid]
    return losses.mean() if len(losses) else fused.sum() * 0.0


def contrastive_loss(pooled: Sequence[Tensor], present: Sequence[Tensor], temperature: float = TEMPERATURE) -> Tensor:
    """Inputs of one item lie nearer to each other than to those of other items; needs no labels.

    The symmetric InfoNCE over each pair of inputs, among the items that have both, averaged over pairs. Source:
    Radford et al., CLIP (2021), figure 3.

    Args:
        pooled: per input [B, D].
        present: per input [B].
    """
    losses = []
    for one, other in itertools.combinations(range(len(pooled)), 2):
        both = present[one] & present[other]
        if int(both.sum()) < 2:
            continue
        left = F.normalize(pooled[one][both].float(), dim=-1)
        right = F.normalize(pooled[other][both].float(), dim=-1)
        similarity = left @ right.T / temperature
        same = torch.arange(len(similarity), device=similarity.device)
        losses.append((F.cross_entropy(similarity, same) + F.cross_entropy(similarity.T, same)) / 2)
    return torch.stack(losses).mean() if losses else pooled[0].sum() * 0.0


def class_weights(classes: Sequence[int], count: int) -> tuple[float, ...]:
    """Per label the inverse of how often it is seen, 1 on average over samples."""
    seen = [max(1, sum(number == label for number in classes)) for label in range(count)]
    return tuple(len(classes) / (count * one) for one in seen)
