"""Rows without labels beside labelled ones: inputs brought together first, then labels of the model's own making."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from worker.model.fusion_model import FusionModel
from worker.model.items import on_device
from worker.training.augment import Augment
from worker.training.data import Samples, batches
from worker.training.encoders import steady
from worker.training.evaluate import calibrate, measure
from worker.training.fit import LOGS, Plan, descend, fit, kept_of, one_cycle
from worker.training.head_measures import judge_of
from worker.training.losses import contrastive_loss
from worker.training.presence import ALL

# A share of fewer verdicts than these says little of the next.
FEWEST = 10


@dataclass(frozen=True, slots=True)
class How:
    """How rows without labels are used.

    Attributes:
        epochs: passes over all rows that bring inputs together; 0: none.
        rounds: how often labels are made and trained on, at most.
        sure: how often, on dev, a verdict must be right whose score is one from which labels are made.
    """

    epochs: int
    rounds: int
    sure: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """The score from which verdicts are taken for labels: of `count` on dev `precision` were right."""

    score: float
    precision: float
    count: int


def threshold_of(scores: NDArray[np.float64], right: NDArray[np.bool_], sure: float) -> Threshold | None:
    """The lowest score from which on the share of right verdicts is `sure` or more; None: there is none with FEWEST.

    Args:
        scores: [N], the best of each, calibrated.
        right: [N].
    """
    order = np.argsort(-scores, kind="stable")
    ranked, counts = scores[order], np.arange(1, len(order) + 1)
    share = np.cumsum(right[order]) / counts
    # Verdicts of one score go together.
    is_end = np.append(ranked[1:] < ranked[:-1], True)
    good = np.flatnonzero(is_end & (share >= sure) & (counts >= FEWEST))
    if not len(good):
        return None
    last = int(good[-1])
    return Threshold(float(ranked[last]), float(share[last]), last + 1)


def accept(model: FusionModel, dev: Samples, unlabelled: Samples, sure: float, batch: int) -> tuple[Samples, str]:
    """Those of the rows without labels of which the model is sure, with what it says of them, and a sentence.

    The model is calibrated on dev first. A label that stands in a row is not looked at.
    """
    calibrate(model, dev, batch)
    known = measure(model, dev, batch, ALL)
    found = threshold_of(known.scores.max(axis=1), known.said == known.truth, sure)
    if found is None:
        return unlabelled.relabelled([], []), (
            f"no labels are made: at no score are {sure:.1%} of {FEWEST} or more verdicts on dev right"
        )
    asked = measure(model, unlabelled, batch, ALL)
    numbers = np.flatnonzero(asked.scores.max(axis=1) >= found.score)
    made = unlabelled.relabelled(numbers.tolist(), asked.said[numbers].tolist())
    each = np.bincount(asked.said[numbers], minlength=len(asked.names))
    named = ", ".join(f"{name} {count}" for name, count in zip(asked.names, each, strict=True))
    return made, (
        f"{len(numbers)} of {len(unlabelled)} rows ({len(numbers) / len(unlabelled):.1%}) get a label, from a score of "
        f"{found.score:.3f} on (right on dev: {found.precision:.3f} of {found.count}): {named}"
    )


def bring_together(
    model: FusionModel, samples: Samples, plan: Plan, epochs: int, step: Callable[[str, int], object]
) -> str:
    """Trains the encoders so that inputs of one row lie nearer to each other than to those of others; a sentence.

    Needs no labels and looks at none. Rows with fewer than two inputs say nothing here.

    Raises:
        ConfigError: the loss is no longer finite.
    """
    pairs = samples.with_two()
    if len(pairs) < plan.batch or not epochs:
        why = f"{len(pairs)} rows have two inputs or more, --batch is {plan.batch}" if epochs else "no epochs asked for"
        return f"inputs are not brought together: {why}"
    torch.manual_seed(plan.seed)
    optimizer, schedule = one_cycle(model, plan, epochs * (len(pairs) // plan.batch))
    losses = []
    for epoch in range(epochs):
        model.train()
        steady(model)
        seed, some = plan.seed * 1000 + epoch, []
        shown = pairs.augmented(Augment(plan.augment), seed)
        for arguments, _ in batches(shown, plan.batch, ALL, seed=seed, shuffle=True):
            with torch.autocast(model.device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
                out = model(**on_device(arguments, model.device))
            loss = contrastive_loss(out.pooled, out.present)
            some.append(descend(model, loss, optimizer, schedule, plan))
            step(f"together {np.mean(some):.3f}", 1)
        losses.append(float(np.mean(some)))
    return f"inputs of {len(pairs)} rows were brought together: loss {losses[0]:.3f}, {losses[-1]:.3f} at the end"


def fit_beside(
    model: FusionModel, train: Samples, dev: Samples, unlabelled: Samples, plan: Plan, how: How, folder: Path,
    step: Callable[[str, int], object],
) -> tuple[list[dict[str, float]], list[str]]:  # fmt: skip
    """As `fit`, with rows without labels beside; the curves, and what to tell.

    1. Inputs are brought together, on all rows.
    2. The model is trained on the labelled rows.
    3. In each round it says what it is sure of, and is trained on that and on the labelled rows, in about as many steps
       as 2 had. A round whose weights do worse on dev (`judged_by`) is taken back, and is the last.
    """
    told = [bring_together(model, train.with_more(unlabelled), plan, how.epochs, step)]
    history = fit(model, train, dev, plan, folder, step)
    best, judge = kept_of(history)["judged"], judge_of(model.config)
    rounds = range(1, how.rounds + 1)
    if rounds and not model.config.has_label:
        told.append("no labels are made: the model has further heads alone, and rounds make labels alone")
        rounds = range(0)
    for number in rounds:
        made, said = accept(model, dev, unlabelled, how.sure, plan.batch)
        told.append(f"round {number}: {said}")
        if not len(made):
            break
        more, before = train.with_more(made), copy.deepcopy(model.state_dict())
        own = replace(plan, epochs=max(1, round(plan.epochs * len(train) / len(more))), seed=plan.seed + number)
        curve = fit(model, more, dev, own, folder / LOGS / f"round-{number}", step)
        reached = kept_of(curve)["judged"]
        if reached < best:
            model.load_state_dict(before)
            told.append(f"round {number}: taken back, dev {judge} fell from {best:.3f} to {reached:.3f}")
            break
        told.append(f"round {number}: dev {judge} {reached:.3f}, before {best:.3f}")
        history, best = [*history, *curve], reached
    return history, told
