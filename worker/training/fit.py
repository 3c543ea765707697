"""Labelled samples -> the weights that do best on the dev split."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from worker.errors import ConfigError
from worker.model.fusion_model import FusionModel
from worker.training.data import ALL, Presence, Samples, batches
from worker.training.evaluate import measure
from worker.training.losses import joint_loss


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train.

    Attributes:
        epochs: passes over the training split.
        batch: items per step.
        learning_rate: the highest of the one-cycle schedule.
        presence: how often each modality is hidden (modality dropout).
        triplet_weight: of the triplet loss beside the cross-entropy.
        seed: of the order and of the modality dropout; the same seed gives the same weights on the same machine.
    """

    epochs: int = 4
    batch: int = 32
    learning_rate: float = 2e-3
    presence: Presence = field(default_factory=lambda: Presence(0.15, 0.15))
    triplet_weight: float = 0.2
    seed: int = 0


def fit(
    model: FusionModel, train: Samples, dev: Samples, plan: Plan, log_folder: Path, step: Callable[[str], object]
) -> float:
    """Trains in place and leaves the weights of the epoch with the best dev accuracy, which is returned.

    Curves go to `log_folder` for TensorBoard; `step(text)` is called after each batch, for a progress bar.

    Raises:
        ConfigError: the training split is smaller than one batch, or the loss is no longer finite.
    """
    if len(train) < plan.batch:
        raise ConfigError(f"--batch {plan.batch}: the training split has only {len(train)} samples")
    config = model.config
    torch.manual_seed(plan.seed)
    optimizer = AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=0.01)
    schedule = OneCycleLR(optimizer, plan.learning_rate, total_steps=plan.epochs * (len(train) // plan.batch))
    best, kept = -1.0, copy.deepcopy(model.state_dict())
    with SummaryWriter(str(log_folder)) as board:
        for epoch in range(plan.epochs):
            loader = batches(
                train, plan.batch, config.max_tokens, config.image_size, plan.presence,
                seed=plan.seed * 1000 + epoch, shuffle=True,
            )  # fmt: skip
            loss = _epoch(model, loader, optimizer, schedule, plan, step)
            accuracy = measure(model, dev, plan.batch, ALL, lambda: step("dev")).accuracy
            board.add_scalar("loss/train", loss, epoch)
            board.add_scalar("accuracy/dev", accuracy, epoch)
            if accuracy > best:
                best, kept = accuracy, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return best


def _epoch(
    model: FusionModel,
    loader: DataLoader[object],
    optimizer: AdamW,
    schedule: OneCycleLR,
    plan: Plan,
    step: Callable[[str], object],
) -> float:
    model.train()
    total, count = 0.0, 0
    for arguments, labels in loader:
        on_device = {name: tensor.to(model.device) for name, tensor in arguments.items()}
        out = model(**on_device)
        loss = joint_loss(out.logits, out.fused, labels.to(model.device), plan.triplet_weight)
        if not bool(loss.isfinite()):
            raise ConfigError(
                f"--learning-rate {plan.learning_rate:g}: the loss is no longer finite; take a smaller one"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total, count = total + loss.item(), count + 1
        step(f"loss {total / count:.3f}")
    return total / count
