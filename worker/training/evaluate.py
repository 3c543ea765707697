"""A model and labelled batches -> how well it does, under each presence pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.metrics import classification_report, confusion_matrix

from worker.model.calibration import Temperatures, set_of
from worker.model.confidence import Knowledge
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.model.heads import Heads
from worker.model.items import on_device
from worker.training.data import Samples, batches
from worker.training.intervals import wilson
from worker.training.presence import ALL, Presence, patterns

# As Guo et al. (2017) have it; with fewer samples a bin the error would be mostly noise.
_BINS = 15
Alter = Callable[[dict[str, Any], torch.Tensor], dict[str, Any]]
UNFAMILIAR = 0.05  # Below it an item is counted as not familiar; of known data one in twenty is.


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured under one presence pattern.

    Attributes:
        logits: [N, K], not yet divided by the temperature.
        truth: [N], the number of each sample's label.
        temperature: that scores are told with; [N] where samples have each its own.
        names: the labels.
        least: [N], the score from which a label is in the set of `confidence`; None without it.
        familiar: [N], as in results; likewise.
        columns, targets: [N, E] and [N, W], of further heads what the model says and what is true (heads.encoded).
    """

    logits: NDArray[np.float64]
    truth: NDArray[np.int64]
    temperature: float | NDArray[np.float64]
    names: tuple[str, ...]
    least: NDArray[np.float64] | None = None
    familiar: NDArray[np.float64] | None = None
    columns: NDArray[np.float64] | None = None
    targets: NDArray[np.float64] | None = None

    @property
    def has_label(self) -> bool:
        """Whether there are labels to tell apart; a model that has further heads alone has one label, always right."""
        return len(self.names) > 1

    @property
    def scores(self) -> NDArray[np.float64]:
        """[N, K]."""
        return softmax(self.logits / np.reshape(self.temperature, (-1, 1)))

    @property
    def sets(self) -> NDArray[np.bool_]:
        """[N, K], the labels in the set of each."""
        told = self.scores >= np.reshape(np.asarray(self.least), (-1, 1))
        told[np.arange(len(told)), self.said] = True
        return np.asarray(told)

    @property
    def said(self) -> NDArray[np.int64]:
        """[N], the number of the likeliest label."""
        return np.asarray(self.logits.argmax(axis=1))

    @property
    def accuracy(self) -> float:
        """The part of the samples whose label was right."""
        return float((self.said == self.truth).mean())

    @property
    def strange(self) -> NDArray[np.bool_] | None:
        """[N], which are said not to be familiar; None without confidence."""
        return None if self.familiar is None else np.asarray(self.familiar < UNFAMILIAR)

    @property
    def macro_f1(self) -> float:
        """The F1 score, averaged over labels."""
        count = len(self.names)
        right = np.bincount(self.truth[self.said == self.truth], minlength=count)
        asked = np.bincount(self.truth, minlength=count) + np.bincount(self.said, minlength=count)
        return float((2 * right / np.maximum(asked, 1)).mean())

    @property
    def calibration_error(self) -> float:
        """The expected calibration error: how far the best score lies from how often it is right."""
        return float(sum(share * abs(right - told) for told, right, share in self.reliability()))

    def picked(self, numbers: NDArray[np.int64]) -> Measured:
        """Of these samples, by their numbers; one may be named more than once."""
        temperature = np.broadcast_to(self.temperature, self.truth.shape)
        given = {"logits": self.logits, "truth": self.truth, "temperature": temperature}
        more = {name: getattr(self, name) for name in ("least", "familiar", "columns", "targets")}
        told = given | {name: one for name, one in more.items() if one is not None}
        return replace(self, **{name: one[numbers] for name, one in told.items()})

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
    model: FusionModel, samples: Samples, batch: int, presence: Presence, step: Callable[[], object] = lambda: None,
    knowledge: Knowledge | None = None, alter: Alter | None = None,
) -> Measured:  # fmt: skip
    """Runs the model over the samples that have what this presence shows; `step` is called after each batch.

    `alter(arguments, labels)` gives the arguments that `forward` is called with instead.
    """
    model.eval()
    truth: list[int] = []
    logits: list[list[float]] = []
    told: list[float] = []
    known: list[tuple[float, float]] = []
    columns: list[list[float]] = []
    temperatures = Temperatures(model.config)
    chosen = samples if presence.shown is None else samples.having(presence.shown)
    for arguments, labels in batches(chosen, batch, presence, seed=0, shuffle=False):
        given = on_device(arguments, model.device)
        out = model(**(given if alter is None else alter(given, labels)))
        logits += out.logits.double().cpu().tolist()
        columns += out.heads.double().cpu().tolist() if out.heads is not None else []
        present = torch.stack(out.present, dim=1).tolist()
        sets = [set_of(n for n, there in enumerate(row) if there) for row in present]
        told += [temperatures.of(one) for one in sets]
        if knowledge is not None:
            strange = knowledge.strangeness(out, sets)[:, 0].tolist()
            known += [(knowledge.least(n), knowledge.familiar(n, s)) for n, s in zip(sets, strange, strict=True)]
        truth += labels.tolist()
        step()
    names = labels_of(model.config)
    measured = Measured(np.array(logits).reshape(-1, len(names)), np.array(truth, int), np.array(told), names)
    if model.config.heads:
        of_heads = np.array(columns).reshape(len(truth), Heads(model.config.heads).width)
        measured = replace(measured, columns=of_heads, targets=chosen.targets.numpy())
    if knowledge is None:
        return measured
    least, familiar = np.array(known).reshape(-1, 2).T
    return replace(measured, least=least, familiar=familiar)


def labels_of(config: FusionConfig) -> tuple[str, ...]:
    """The labels in the order of the logits."""
    return tuple(config.id2label[number] for number in range(config.num_labels))


def fitted_temperature(measured: Measured) -> float:
    """The temperature under which the truth is likeliest (Guo et al., On calibration of modern networks, 2017).

    The next verdict is taken to be wrong with a chance of 1 / (N + 2), also when none of N was (Laplace's rule, as in
    Platt's scaling, 1999): without it the likeliest temperature of N right ones is 0, and every score 1.
    """
    count, labels = measured.logits.shape
    doubt = 1 / (count + 2)
    wanted = np.full((count, labels), doubt / max(1, labels - 1))
    wanted[np.arange(count), measured.truth] = 1 - doubt

    def unlikeliness(log_temperature: float) -> float:
        told = measured.logits / np.exp(log_temperature)
        return float(-(wanted * (told - logsumexp(told, axis=1, keepdims=True))).sum(axis=1).mean())

    return float(np.exp(minimize_scalar(unlikeliness, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x))


def calibrate(model: FusionModel, dev: Samples, batch: int) -> None:
    """Fits the model's temperatures: of the samples as they come, and under each presence pattern that has any; of one
    label, whose score is 1 at any temperature, none."""
    if not model.config.has_label:
        return
    model.config.calibration = fitted_temperature(measure(model, dev, batch, ALL))
    numbers, model.config.calibrations = range(len(model.config.inputs)), {}
    for presence in patterns([str(number) for number in numbers]).values():
        found = measure(model, dev, batch, presence)
        if len(found.truth):
            model.config.calibrations[str(set_of(presence.shown or ()))] = fitted_temperature(found)


def rows_of(measured: Mapping[str, Measured]) -> list[str]:
    """A line for each that has samples, below a head; nothing of nothing."""
    told = {name: one for name, one in measured.items() if len(one.truth)}
    if not told:
        return []
    wide = max(len(name) for name in told)
    rows = [f"{'':<{wide}}  accuracy  macro F1    ECE      n  accuracy, 95 %"]
    for name, one in told.items():
        low, high = wilson(int((one.said == one.truth).sum()), len(one.truth))
        rows.append(
            f"{name:<{wide}}  {one.accuracy:8.3f}  {one.macro_f1:8.3f}  {one.calibration_error:5.3f}  "
            f"{len(one.truth):5d}  {low:.3f} to {high:.3f}"
        )
    return rows


def confidence_rows(measured: Mapping[str, Measured]) -> list[str]:
    """A line for each that has samples, below a head: how often the right label is in the set, how large that is, and
    how often an item is said not to be familiar; nothing of a model without confidence."""
    told = {name: one for name, one in measured.items() if len(one.truth) and one.least is not None}
    if not told:
        return []
    wide = max(len(name) for name in told)
    rows = [f"{'':<{wide}}  right one in set, 95 %     labels in set  familiar < {UNFAMILIAR:g}, 95 %      n"]
    for name, one in told.items():
        sets, strange = one.sets, np.asarray(one.familiar) < UNFAMILIAR
        held = sets[np.arange(len(one.truth)), one.truth]
        shares = [(flags.mean(), *wilson(int(flags.sum()), len(flags))) for flags in (held, strange)]
        (right, *found), (odd, *seen) = shares
        rows.append(
            f"{name:<{wide}}  {right:.3f}, {found[0]:.3f} to {found[1]:.3f}    {sets.sum(axis=1).mean():13.2f}  "
            f"{odd:.3f}, {seen[0]:.3f} to {seen[1]:.3f}  {len(held):5d}"
        )
    return rows


def first_of(measured: Mapping[str, Measured]) -> Measured:
    """What is told in detail: the first row."""
    return next(iter(measured.values()))


def tell(measured: Mapping[str, Measured]) -> str:
    """A line per presence pattern, what is known of it, and the report of the first."""
    known = [*confidence_rows(measured), ""] if first_of(measured).least is not None else []
    return "\n".join([*rows_of(measured), "", *known, f"{next(iter(measured))}:", first_of(measured).report])
