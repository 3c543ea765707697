"""Logits [B, K], fused vectors [B, D] and labels [B] -> one loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# The article's margin, between cosine distances that lie in 0..2.
MARGIN = 0.2


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


def joint_loss(logits: Tensor, fused: Tensor, labels: Tensor, triplet_weight: float) -> Tensor:
    """Cross-entropy + `triplet_weight` x triplet."""
    return F.cross_entropy(logits.float(), labels) + triplet_weight * triplet_loss(fused, labels)
