"""A model and labelled batches -> how well it does, under each presence pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.metrics import classification_report, confusion_matrix, f1_score

from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.model.items import on_device
from worker.training.data import Presence, Samples, batches

# As Guo et al. (2017) have it; with fewer samples a bin the error would be mostly noise.
_BINS = 15


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured under one presence pattern.

    Attributes:
        logits: [N, K], not yet divided by the temperature.
        truth: [N], the number of each sample's label.
        temperature: that scores are told with.
        names: the labels.
    """

    logits: NDArray[np.float64]
    truth: NDArray[np.int64]
    temperature: float
    names: tuple[str, ...]

    @property
    def scores(self) -> NDArray[np.float64]:
        """[N, K]."""
        return softmax(self.logits / self.temperature)

    @property
    def said(self) -> NDArray[np.int64]:
        """[N], the number of the likeliest label."""
        return np.asarray(self.logits.argmax(axis=1))

    @property
    def accuracy(self) -> float:
        """The part of the samples whose label was right."""
        return float((self.said == self.truth).mean())

    @property
    def macro_f1(self) -> float:
        """The F1 score, averaged over labels."""
        labels = range(len(self.names))
        return float(f1_score(self.truth, self.said, labels=labels, average="macro", zero_division=0.0))

    @property
    def calibration_error(self) -> float:
        """The expected calibration error: how far the best score lies from how often it is right."""
        return float(sum(share * abs(right - told) for told, right, share in self.reliability()))

    def reliability(self) -> list[tuple[float, float, float]]:
        """Per bin of the best score: its mean, how often it is right, and the share of the samples in it."""
        best, right = self.scores.max(axis=1), self.said == self.truth
        bins = np.minimum((best * _BINS).astype(int), _BINS - 1)
        inside = [bins == number for number in range(_BINS)]
        return [(float(best[b].mean()), float(right[b].mean()), float(b.mean())) for b in inside if b.any()]

    @property
    def report(self) -> str:
        """scikit-learn's classification report."""
        told: str = classification_report(
            self.truth, self.said, labels=range(len(self.names)), target_names=self.names, digits=3, zero_division=0.0
        )
        return told

    @property
    def confusion(self) -> NDArray[np.int64]:
        """[K, K], rows are the truth."""
        return np.asarray(confusion_matrix(self.truth, self.said, labels=range(len(self.names))))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


@torch.inference_mode()
def measure(
    model: FusionModel, samples: Samples, batch: int, presence: Presence, step: Callable[[], object]
) -> Measured:
    """Runs the model over the samples that this presence leaves an input; `step` is called after each batch."""
    model.eval()
    truth: list[int] = []
    logits: list[list[float]] = []
    for arguments, labels in batches(samples, batch, presence, seed=0, shuffle=False):
        logits += model(**on_device(arguments, model.device)).logits.double().cpu().tolist()
        truth += labels.tolist()
        step()
    return Measured(np.array(logits), np.array(truth), model.config.calibration, labels_of(model.config))


def labels_of(config: FusionConfig) -> tuple[str, ...]:
    """The labels in the order of the logits."""
    return tuple(config.id2label[number] for number in range(config.num_labels))


def fitted_temperature(measured: Measured) -> float:
    """The temperature under which the truth is likeliest (Guo et al., On calibration of modern networks, 2017)."""

    def unlikeliness(log_temperature: float) -> float:
        scores = softmax(measured.logits / np.exp(log_temperature))
        chosen = scores[np.arange(len(measured.truth)), measured.truth]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    return float(np.exp(minimize_scalar(unlikeliness, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x))


def rows_of(measured: Mapping[str, Measured]) -> list[str]:
    """A line for each, below a head; nothing of nothing."""
    if not measured:
        return []
    wide = max(len(name) for name in measured)
    head = f"{'':<{wide}}  accuracy  macro F1    ECE      n"
    rows = [
        f"{name:<{wide}}  {one.accuracy:8.3f}  {one.macro_f1:8.3f}  {one.calibration_error:5.3f}  {len(one.truth):5d}"
        for name, one in measured.items()
    ]
    return [head, *rows]


def tell(measured: Mapping[str, Measured]) -> str:
    """A line per presence pattern, and the report of the first."""
    first: Sequence[str] = list(measured)[:1]
    return "\n".join([*rows_of(measured), "", f"{first[0]}:", measured[first[0]].report])
