"""How well a model does by group: by key, by what is missing, by an attribute of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.errors import ConfigError
from worker.training.evaluate import Measured
from worker.training.intervals import newcombe, wilson
from worker.training.rows import Sample
from worker.training.tables import aligned

KEY, MISSING = "key", "missing"
_NOT_TOLD, _NOTHING = "(not told)", "(nothing)"
FEWEST = 20  # Of fewer samples an accuracy says next to nothing: Wilson's interval of 19 of 19 begins at 0.83.
_MOST_SHOWN = 10
_SHUFFLES = 1000


@dataclass(frozen=True, slots=True)
class Share:
    """How many of how many."""

    right: int
    count: int

    @property
    def value(self) -> float:
        """From 0 to 1; not to be asked of nothing."""
        return self.right / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, Wilson's."""
        return wilson(self.right, self.count)

    def __str__(self) -> str:
        if not self.count:
            return "-"
        low, high = self.interval
        return f"{self.value:.3f}, {low:.3f} to {high:.3f}"


@dataclass(frozen=True, slots=True)
class Group:
    """What was measured of one group.

    Attributes:
        strange: those that are said not to be familiar; None without confidence.
        found, false: with a label that is asked for, how many of its samples were said to have it, and how many of the
            others.
    """

    name: str
    right: Share
    macro_f1: float
    strange: Share | None = None
    found: Share | None = None
    false: Share | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Between the best and the worst of the groups that are large enough.

    Attributes:
        low, high: the 95 % interval, for all pairs of groups together.
        chance: 19 times in 20 the gap would be smaller if it were chance alone who is in which group.
    """

    best: str
    worst: str
    value: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True, slots=True)
class Grouping:
    """All groups of one attribute.

    Attributes:
        groups: those of FEWEST samples or more, the worst first.
        small: the others together, and how many they are.
        gap: of the accuracies, and of the shares found of the label that is asked for; None of fewer than two groups.
    """

    by: str
    groups: tuple[Group, ...]
    small: Group | None
    smalls: int
    gap: Gap | None
    positive: str | None = None
    found_gap: Gap | None = None


def choices(samples: Sequence[Sample]) -> list[str]:
    """What these samples can be grouped by: their key where it is told, what is missing, their attributes."""
    own = dict.fromkeys(name for sample in samples for name in sample.attributes)
    return [*([KEY] if any(sample.key for sample in samples) else []), MISSING, *sorted(own)]


def names_of(samples: Sequence[Sample], by: str, inputs: Sequence[str]) -> list[str]:
    """The group of each sample.

    Raises:
        ConfigError: no row tells it.
    """
    if by not in (known := choices(samples)):
        raise ConfigError(f"--by {by}: no row has such an attribute; must be one of {', '.join(known)}")
    if by == KEY:
        return [sample.key or _NOT_TOLD for sample in samples]
    if by == MISSING:
        lacking = [[name for name in inputs if name not in sample.bodies] for sample in samples]
        return [", ".join(names) or _NOTHING for names in lacking]
    return [sample.attributes.get(by, _NOT_TOLD) for sample in samples]


def group(measured: Measured, by: str, names: Sequence[str], positive: str | None = None) -> Grouping:
    """By the group of each sample, `names`; `positive` is a label whose hits and false alarms are told as well."""
    found, where = np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)
    counts = np.bincount(where)
    large = [number for number in range(len(found)) if counts[number] >= FEWEST]
    groups = [_group(str(found[n]), measured.picked(np.flatnonzero(where == n)), positive) for n in large]
    groups.sort(key=lambda one: (one.right.value, one.name))
    rest, few = np.flatnonzero(counts[where] < FEWEST), len(found) - len(large)
    small = _group(f"{few} of fewer than {FEWEST}", measured.picked(rest), positive) if few else None
    gap = _gap({one.name: one.right for one in groups}, where, measured.said == measured.truth)
    found_gap = None
    if positive is not None:
        asked = measured.truth == measured.names.index(positive)
        hits = {one.name: one.found for one in groups if one.found is not None and one.found.count >= FEWEST}
        found_gap = _gap(hits, where[asked], (measured.said == measured.truth)[asked])
    return Grouping(by, tuple(groups), small, few, gap, positive, found_gap)


def _group(name: str, own: Measured, positive: str | None) -> Group:
    right, strange = own.said == own.truth, own.strange
    asked = own.truth == own.names.index(positive) if positive is not None else None
    said = own.said == own.names.index(positive) if positive is not None else right
    return Group(
        name, share_of(right), _macro_f1(own), None if strange is None else share_of(strange),
        None if asked is None else share_of(said[asked]), None if asked is None else share_of(said[~asked]),
    )  # fmt: skip


def share_of(flags: NDArray[np.bool_]) -> Share:
    """How many of these are true."""
    return Share(int(flags.sum()), len(flags))


def _macro_f1(own: Measured) -> float:
    """Over the labels that are true of some in the group: of the others nothing could be found."""
    count = len(own.names)
    right = np.bincount(own.truth[own.said == own.truth], minlength=count)
    asked = np.bincount(own.truth, minlength=count) + np.bincount(own.said, minlength=count)
    there = np.bincount(own.truth, minlength=count) > 0
    return float((2 * right[there] / asked[there]).mean())


def _gap(shares: Mapping[str, Share], where: NDArray[np.int64], right: NDArray[np.bool_]) -> Gap | None:
    if len(shares) < 2:
        return None
    (least, worst), *_, (most, best) = sorted(shares.items(), key=lambda one: one[1].value)
    pairs = len(shares) * (len(shares) - 1) // 2
    low, high = newcombe((best.right, best.count), (worst.right, worst.count), pairs)
    chance = _by_chance(np.bincount(where), right, where)
    return Gap(most, least, best.value - worst.value, low, high, chance)


def _by_chance(counts: NDArray[np.int64], right: NDArray[np.bool_], where: NDArray[np.int64]) -> float:
    """The gap that 19 of 20 shuffles of the samples between the large groups stay below."""
    sizes = counts[counts >= FEWEST]
    kept, starts = right[counts[where] >= FEWEST].astype(float), np.cumsum(sizes) - sizes
    rng = np.random.default_rng(0)
    shares = [np.add.reduceat(rng.permutation(kept), starts) / sizes for _ in range(_SHUFFLES)]
    return float(np.quantile([one.max() - one.min() for one in shares], 0.95))


def rows_of_groups(one: Grouping) -> list[str]:
    """A table: the worst ten, the small ones together, a line about the others, and the gap."""
    shown = [*one.groups[:_MOST_SHOWN], *([one.small] if one.small is not None else [])]
    hits = ["found, 95 %", "false, 95 %"] if one.positive is not None else []
    table = [[f"by {one.by}", "accuracy, 95 %", "macro F1", "not familiar", *hits, "n"]]
    for each in shown:
        strange = f"{each.strange.value:.3f}" if each.strange is not None else "-"
        found = [str(each.found), str(each.false)] if one.positive is not None else []
        table.append([each.name, str(each.right), f"{each.macro_f1:.3f}", strange, *found, str(each.right.count)])
    rows = aligned(table)
    if others := one.groups[_MOST_SHOWN:]:
        told = [other.right.value for other in others]
        rows.append(f"{len(others)} others: {told[0]:.3f} to {told[-1]:.3f}, median {np.median(told):.3f}")
    return [*rows, *_gap_rows(one)]


def _gap_rows(one: Grouping) -> list[str]:
    if one.gap is None:
        return [f"no gap is told: it takes two groups of {FEWEST} samples or more"]
    rows = [f"gap of accuracies, {_told(one.gap)}"]
    if one.found_gap is not None:
        rows.append(f"gap of {one.positive!r} found, {_told(one.found_gap)}")
    return rows


def _told(gap: Gap) -> str:
    return (
        f"{gap.best} less {gap.worst}: {100 * gap.value:.1f} points, 95 % {100 * gap.low:.1f} to {100 * gap.high:.1f}; "
        f"by chance alone up to {100 * gap.chance:.1f}"
    )
