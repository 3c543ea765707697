"""What further heads say of the dev split -> their temperatures, thresholds and bands."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.errors import ConfigError
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.model.heads import Head, Heads
from worker.model.kinds import LABEL, LABELS, NUMBER
from worker.training.data import Samples
from worker.training.evaluate import Measured, fitted_temperature, measure
from worker.training.heads import beside_truth, places
from worker.training.presence import ALL

_MIDDLE = 0.5  # The threshold of a label that the dev split does not show.


def check_dev(heads: Heads, targets: Tensor) -> None:
    """Raises ConfigError where dev has too few numbers for a band; `targets` as `heads.encoded` has them."""
    for head, own in places(heads):
        if head.kind == NUMBER:
            _ensure_enough(head, int((~targets[:, own].isnan()).sum()))


def _ensure_enough(head: Head, count: int) -> None:
    needed = math.ceil(head.level / (1 - head.level) - 1e-9)
    if count < needed:
        raise ConfigError(
            f"--data: the dev split has targets.{head.name} in {count} rows; a band that holds {head.level:g} of all "
            f"numbers needs {needed} or more"
        )


def fit_heads(model: FusionModel, dev: Samples, batch: int) -> None:
    """Fits the heads of a model's configuration to what it says of the dev split as it comes.

    Raises:
        ConfigError: dev has too few numbers for a band.
    """
    if model.config.heads:
        model.config.heads = fitted(model.config, measure(model, dev, batch, ALL))


def fitted(config: FusionConfig, dev: Measured) -> list[dict[str, Any]]:
    """The heads of a configuration, fitted.

    Raises:
        ConfigError: dev has too few numbers for a band.
    """
    heads, made = Heads(config.heads), []
    assert dev.columns is not None
    assert dev.targets is not None
    for head, columns, truth in beside_truth(heads, torch.from_numpy(dev.columns), dev.targets):
        known = ~np.isnan(truth).any(axis=1)
        made.append(_fitted(head, columns.numpy()[known], truth[known]).told)
    return made


def _fitted(head: Head, columns: NDArray[np.float64], truth: NDArray[np.float64]) -> Head:
    if head.kind == NUMBER:
        _ensure_enough(head, len(truth))
        return replace(head, widened=widening(columns[:, 1], columns[:, 2], truth[:, 0], head.level))
    if head.kind == LABELS:
        scores = torch.from_numpy(columns).sigmoid().numpy()
        return replace(head, thresholds=tuple(threshold(scores[:, n], truth[:, n]) for n in range(len(head.labels))))
    assert head.kind == LABEL
    if not len(truth):
        return head
    of_dev = Measured(columns, truth[:, 0].astype(int), 1.0, head.labels)
    return replace(head, temperature=fitted_temperature(of_dev))


def threshold(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """The score from which a label is told so that F1 on these samples is highest, midway between the two that it
    parts; of several the nearest to 0.5. 0.5 where no sample has the label."""
    if not (truth > _MIDDLE).any():
        return _MIDDLE
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order], np.cumsum(truth[order] > _MIDDLE)
    last = np.append(ranked[1:] < ranked[:-1], True)  # Equal scores are told together.
    f1 = 2 * right / (np.arange(1, len(ranked) + 1) + right[-1])
    below = np.append(ranked[1:], 0.0)
    places = np.flatnonzero(last & (f1 >= f1[last].max() - 1e-12))
    found = (ranked[places] + below[places]) / 2
    return float(found[np.abs(found - _MIDDLE).argmin()])


def widening(low: NDArray[np.float64], high: NDArray[np.float64], truth: NDArray[np.float64], level: float) -> float:
    """By how much a band reaches beyond its quantiles so that the next number lies in it with a chance of `level`.

    The ceil((N + 1) level)-th smallest of N scores max(low - y, y - high). Source: Romano, Patterson, Candes,
    Conformalized Quantile Regression (2019), theorem 1.
    """
    beyond = np.sort(np.maximum(low - truth, truth - high))
    return float(beyond[math.ceil((len(beyond) + 1) * level - 1e-9) - 1])
