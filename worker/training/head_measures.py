"""What a model's further heads say and what is true -> how well each does, under each presence pattern."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from worker.model.config import FusionConfig
from worker.model.heads import Head, Heads
from worker.model.kinds import LABEL, LABELS, NUMBER
from worker.records import Verdict
from worker.training.evaluate import Measured
from worker.training.heads import beside_truth, places
from worker.training.intervals import Z, wilson

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeadMeasured:
    """One head on the samples that tell its truth.

    Attributes:
        told: [N, width], as `Head.read`.
        truth: [N, W]: the number of the label, 0 or 1 for each of labels, the number in its unit.
    """

    head: Head
    told: Numbers
    truth: Numbers

    def picked(self, numbers: NDArray[np.int64]) -> HeadMeasured:
        """Of these samples, by their numbers; one may be named more than once."""
        return HeadMeasured(self.head, self.told[numbers], self.truth[numbers])

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Of `labels`, the score from which each is told."""
        return self.head.thresholds or (0.5,) * len(self.head.labels)

    @property
    def said(self) -> NDArray[np.bool_]:
        """[N, L], the labels that are told."""
        if self.head.kind == LABEL:
            return np.asarray(self.told.argmax(axis=1)[:, None] == np.arange(len(self.head.labels)))
        return np.asarray(self.told >= np.array(self.thresholds))

    @property
    def true(self) -> NDArray[np.bool_]:
        """[N, L], the labels that are right."""
        if self.head.kind == LABEL:
            return np.asarray(self.truth == np.arange(len(self.head.labels)))
        return self.truth > 0.5

    @property
    def right(self) -> NDArray[np.bool_]:
        """[N], of which all that is told is right."""
        return np.asarray((self.said == self.true).all(axis=1))

    @property
    def exact(self) -> float:
        """The share of these: of one label the accuracy."""
        return float(self.right.mean())

    @property
    def each(self) -> Numbers:
        """[L, 3]: precision, recall and F1 of each label; 0 of nothing."""
        right = (self.said & self.true).sum(axis=0)
        said, true = self.said.sum(axis=0), self.true.sum(axis=0)
        return np.stack([_share(right, said), _share(right, true), _share(2 * right, said + true)], axis=1)

    @property
    def macro_f1(self) -> float:
        """The F1 score, averaged over labels."""
        return float(self.each[:, 2].mean())

    @property
    def errors(self) -> Numbers:
        """[N], by how much the number is off, in its unit."""
        return np.asarray(self.told[:, 0] - self.truth[:, 0])

    @property
    def mae(self) -> float:
        """The mean absolute error."""
        return float(np.abs(self.errors).mean())

    @property
    def mae_interval(self) -> tuple[float, float]:
        """95 %, the normal one."""
        half = Z * float(np.abs(self.errors).std()) / math.sqrt(len(self.errors))
        return self.mae - half, self.mae + half

    @property
    def rmse(self) -> float:
        """The root of the mean squared error."""
        return float(np.sqrt((self.errors**2).mean()))

    @property
    def r2(self) -> float:
        """The part of the truth's variance that is told; 0 where it does not vary."""
        spread = ((self.truth - self.truth.mean()) ** 2).sum()
        return float(1 - (self.errors**2).sum() / spread) if spread else 0.0

    @property
    def inside(self) -> NDArray[np.bool_]:
        """[N], whether the band holds the truth."""
        return np.asarray((self.told[:, 1] <= self.truth[:, 0]) & (self.truth[:, 0] <= self.told[:, 2]))

    @property
    def band(self) -> float:
        """How wide the band is, on average."""
        return float((self.told[:, 2] - self.told[:, 1]).mean())


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Numbers:
    return np.asarray(part / np.maximum(whole, 1))


def of_heads(config: FusionConfig, measured: Measured) -> list[HeadMeasured]:
    """Each further head on the samples that tell its truth; nothing of a model without any."""
    if measured.columns is None or measured.targets is None:
        return []
    told = beside_truth(Heads(config.heads), torch.from_numpy(measured.columns), measured.targets)
    return [_known(head, head.read(columns).numpy(), truth) for head, columns, truth in told]


def of_verdicts(config: FusionConfig, verdicts: Sequence[Verdict], targets: NDArray[np.float64]) -> list[HeadMeasured]:
    """Each further head, from what was published; `targets` [N, W] as `heads.encoded`."""
    found = []
    for head, own in places(Heads(config.heads)):
        told = np.array([_published(head, (one.heads or {})[head.name]) for one in verdicts]).reshape(-1, head.width)
        found.append(_known(head, told, targets[:, own]))
    return found


def _published(head: Head, said: Mapping[str, Any]) -> list[float]:
    if head.kind == NUMBER:
        return [said["number"], said["low"], said["high"]]
    return [said["scores"][label] for label in head.labels]


def _known(head: Head, told: Numbers, truth: Numbers) -> HeadMeasured:
    known = ~np.isnan(truth).any(axis=1)
    truth = truth * head.std + head.mean if head.kind == NUMBER else truth
    return HeadMeasured(head, told[known], truth[known])


def judged_by(config: FusionConfig, measured: Measured) -> float:
    """What the best epoch has most of, 0 to 1: macro-F1, of a number R2; with further heads their mean, and the label's
    where there is more than one."""
    told = [_worth(one) for one in of_heads(config, measured) if len(one.truth)]
    own = [measured.macro_f1] if measured.has_label or not told else []
    return fmean([*own, *told])


def judge_of(config: FusionConfig) -> str:
    """What `judged_by` is, in words."""
    if not config.heads:
        return "macro F1"
    numbers = any(head.kind == NUMBER for head in Heads(config.heads).each)
    of = "label and heads" if config.has_label else "heads"
    return f"mean over {of} of macro F1{' (of numbers R2)' if numbers else ''}"


def _worth(one: HeadMeasured) -> float:
    return max(0.0, one.r2) if one.head.kind == NUMBER else one.macro_f1


# Each is better the higher it is; a gate holds an exported model's against its original's.
FIGURES: Mapping[str, Mapping[str, Callable[[HeadMeasured], float]]] = {
    LABEL: {"accuracy": lambda one: one.exact, "macro-F1": lambda one: one.macro_f1},
    LABELS: {"exact share": lambda one: one.exact, "macro-F1": lambda one: one.macro_f1},
    NUMBER: {"R2": lambda one: one.r2, "share in band": lambda one: float(one.inside.mean())},
}


def by_head(
    config: FusionConfig, measured: Mapping[str, Measured]
) -> Iterator[tuple[Head, Mapping[str, HeadMeasured]]]:
    """Each further head with those presence patterns that have samples which tell its truth."""
    found = {name: of_heads(config, one) for name, one in measured.items() if len(one.truth)}
    for number, head in enumerate(Heads(config.heads).each):
        yield head, {name: each[number] for name, each in found.items() if len(each[number].truth)}


def head_rows(config: FusionConfig, measured: Mapping[str, Measured]) -> list[str]:
    """A table for each head, a line for each presence pattern, and of labels a line for each; nothing without heads."""
    rows: list[str] = []
    for head, told in by_head(config, measured):
        unit = f", {head.unit}" if head.unit else ""
        rows += [f"head {head.name} ({head.kind}{unit}):" + ("" if told else " no sample tells its truth")]
        rows += [*_table(head, told), ""] if told else [""]
    return rows


def _table(head: Head, told: Mapping[str, HeadMeasured]) -> Iterator[str]:
    wide = max(map(len, told))
    if head.kind == NUMBER:
        yield f"{'':<{wide}}  {'MAE':>9}  {'95 %':<20}  {'RMSE':>9}      R2  {'in band, 95 %':<21}  {'band':>9}      n"
        yield from (f"{name:<{wide}}  {_of_number(one)}" for name, one in told.items())
        return
    first = "accuracy" if head.kind == LABEL else "exact"
    yield f"{'':<{wide}}  {first:>8}  macro F1      n  {first}, 95 %"
    for name, one in told.items():
        low, high = wilson(int(one.right.sum()), len(one.truth))
        yield f"{name:<{wide}}  {one.exact:8.3f}  {one.macro_f1:8.3f}  {len(one.truth):5d}  {low:.3f} to {high:.3f}"
    yield from _of_labels(next(iter(told.values())))


def _of_number(one: HeadMeasured) -> str:
    count, (least, most) = len(one.truth), one.mae_interval
    low, high = wilson(int(one.inside.sum()), count)
    return (
        f"{one.mae:9.4g}  {f'{least:.4g} to {most:.4g}':<20}  {one.rmse:9.4g}  {one.r2:6.3f}  "
        f"{one.inside.mean():.3f}, {low:.3f} to {high:.3f}  {one.band:9.4g}  {count:5d}"
    )


def _of_labels(one: HeadMeasured) -> Iterator[str]:
    """Of the first pattern."""
    names: Sequence[str] = one.head.labels
    wide = max(map(len, names))
    yield f"  {'':<{wide}}  {'threshold  ' if one.head.kind == LABELS else ''}precision  recall     F1      n"
    told = zip(names, one.thresholds, one.each, one.true.sum(axis=0), strict=True)
    for name, at, (precision, recall, f1), true in told:
        threshold = f"{at:9.3f}  " if one.head.kind == LABELS else ""
        yield f"  {name:<{wide}}  {threshold}{precision:9.3f}  {recall:6.3f}  {f1:5.3f}  {true:5d}"
