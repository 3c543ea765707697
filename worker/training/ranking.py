"""How well scores put a label's samples before the others: AUROC and average precision, one label against the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from worker.training.evaluate import Measured


@dataclass(frozen=True, slots=True)
class Ranked:
    """Of one label.

    Attributes:
        positives: how many samples have it.
        auroc: how often a sample that has it scores higher for it than one that has not; None where all or none do.
        precision: the average precision, the area below precision by recall; None where none has it.
    """

    name: str
    positives: int
    auroc: float | None
    precision: float | None


def ranked(measured: Measured) -> list[Ranked]:
    """Of each label; nothing of no samples."""
    scores, made = measured.scores, []
    for number, name in enumerate(measured.names) if len(measured.truth) else ():
        has = measured.truth == number
        positives = int(has.sum())
        auroc = float(roc_auc_score(has, scores[:, number])) if 0 < positives < len(has) else None
        precision = float(average_precision_score(has, scores[:, number])) if positives else None
        made.append(Ranked(name, positives, auroc, precision))
    return made


def macro(told: list[Ranked]) -> tuple[float | None, float | None]:
    """The means of the labels that have one: AUROC, average precision."""
    found = ([one.auroc for one in told if one.auroc is not None],
             [one.precision for one in told if one.precision is not None])  # fmt: skip
    auroc, precision = (float(np.mean(some)) if some else None for some in found)
    return auroc, precision


def ranking_rows(told: list[Ranked]) -> list[str]:
    """A line per label below a head, and their mean."""
    if not told:
        return []
    auroc, precision = macro(told)
    wide = max(len("macro"), *(len(one.name) for one in told))
    rows = [f"{'':<{wide}}  AUROC  avg. precision      n"]
    for one in told:
        note = "  no positives" if not one.positives else "  no negatives" if one.auroc is None else ""
        rows.append(f"{one.name:<{wide}}  {_shown(one.auroc)}  {_shown(one.precision):>14}  {one.positives:5d}{note}")
    return [*rows, f"{'macro':<{wide}}  {_shown(auroc)}  {_shown(precision):>14}"]


def _shown(value: float | None) -> str:
    return f"{value:5.3f}" if value is not None else "    -"
