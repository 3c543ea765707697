"""FusionOutput, labels [B] and targets [B, W] -> one loss: cross-entropy, triplet, contrastive, further heads'."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.model.fusion_model import FusionOutput
from worker.model.heads import Head, Heads
from worker.model.kinds import LABEL, LABELS
from worker.training.heads import beside_truth

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
        heads: of each further head.
    """

    cross_entropy: float = 1.0
    triplet: float = 0.2
    contrastive: float = 0.0
    label_smoothing: float = 0.0
    classes: tuple[float, ...] | None = None
    heads: float = 1.0


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


def heads_loss(heads: Heads, columns: Tensor, targets: Tensor) -> Tensor:
    """The sum of the heads' losses, each the mean over what is known of it: cross-entropy of a label, binary
    cross-entropy of labels, of a number the pinball losses of its median and of its band's quantiles.

    Args:
        heads: of the model.
        columns: [B, E], as FusionOutput.heads.
        targets: [B, W], as `heads.encoded`, NaN where nothing is known.
    """
    total = columns.float().sum() * 0.0
    for head, said, truth in beside_truth(heads, columns.float(), targets):
        known = ~truth.isnan().any(dim=1)
        if bool(known.any()):
            total = total + _head_loss(head, said[known], truth[known])
    return total


def _head_loss(head: Head, columns: Tensor, truth: Tensor) -> Tensor:
    if head.kind == LABEL:
        return F.cross_entropy(columns, truth[:, 0].long())
    if head.kind == LABELS:
        return F.binary_cross_entropy_with_logits(columns, truth)
    return pinball(columns, truth, head.quantiles).sum()


def pinball(columns: Tensor, truth: Tensor, quantiles: Sequence[float]) -> Tensor:
    """Per quantile the mean loss, least where so large a share of the truth lies below (Koenker, Bassett, Regression
    quantiles, 1978). Columns [B, Q], truth [B, 1] -> [Q]."""
    share, below = columns.new_tensor(quantiles), truth - columns
    return torch.maximum(share * below, (share - 1) * below).mean(dim=0)


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
