"""All that was measured of a model on one split -> a report for people, and `metrics.json` for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from schemas import metrics
from worker.model.config import FusionConfig
from worker.model.kinds import LABELS, NUMBER
from worker.training.data import Samples
from worker.training.evaluate import Measured, first_of, tell
from worker.training.groups import Gap, Group, Grouping, Share, choices, group, names_of, rows_of_groups, share_of
from worker.training.head_measures import HeadMeasured, by_head, head_rows
from worker.training.ranking import Ranked, macro, ranked, ranking_rows
from worker.training.spoiled import Spoiled, spoiled_rows

METRICS = "metrics.json"
_PLACES = 6
_NO_LABEL = "The model has no label; of each head:"
_OF_LABEL = "All above is about the label alone; of each head:"


@dataclass(frozen=True)
class Findings:
    """What was measured.

    Attributes:
        config: of the model.
        measured: by presence pattern; the first is told in detail.
        probe: the adversarial rows, or why there are none; None: not asked for.
    """

    config: FusionConfig
    measured: Mapping[str, Measured]
    groups: Sequence[Grouping] = ()
    spoiled: Sequence[Spoiled] = ()
    probe: Sequence[Spoiled] | str | None = None

    @cached_property
    def ranking(self) -> list[Ranked]:
        """Of the first presence pattern; nothing of a model without a label."""
        return ranked(first_of(self.measured)) if self.has_label else []

    @property
    def has_label(self) -> bool:
        """Whether the model tells a label, which all tables but those of heads are about."""
        return bool(self.config.has_label)

    def report(self) -> str:
        """For people."""
        name, heads = next(iter(self.measured)), head_rows(self.config, self.measured)[:-1]
        if not self.has_label:
            return "\n".join([_NO_LABEL, "", *heads]) + "\n"
        blocks = [
            [tell(self.measured).rstrip()],
            [f"{name}, a label against the rest:", *ranking_rows(self.ranking)] if self.ranking else [],
            *(rows_of_groups(one) for one in self.groups),
            spoiled_rows(self.spoiled, self.probe),
            [_OF_LABEL] if heads else [],
            heads,
        ]
        return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


@dataclass(frozen=True, slots=True)
class Of:
    """What was asked about what."""

    digest: str
    data: str
    split: str
    seed: int
    samples: Samples


def groupings(samples: Samples, measured: Measured, asked: Sequence[str], positive: str | None) -> list[Grouping]:
    """By each attribute that is asked for; `measured` is of all samples.

    Raises:
        ConfigError: no row has such an attribute.
    """
    return [group(measured, by, names_of(samples.rows, by, samples.names), positive) for by in dict.fromkeys(asked)]


def all_groupings(samples: Samples, measured: Measured) -> list[Grouping]:
    """By whatever the rows tell, where that is not the same of all."""
    told = {by: names_of(samples.rows, by, samples.names) for by in choices(samples.rows)}
    return [group(measured, by, names) for by, names in told.items() if len(set(names)) > 1]


def write_metrics(folder: Path, findings: Findings, of: Of) -> None:
    """Writes `metrics.json` there."""
    (folder / METRICS).write_text(metrics_of(findings, of).model_dump_json(indent=2) + "\n", "utf-8")


def metrics_of(findings: Findings, of: Of) -> metrics.MetricsV1:
    """For programs."""
    first = first_of(findings.measured)
    auroc, precision = macro(findings.ranking)
    config, probe = findings.config, findings.probe
    temperatures = [config.calibration, *config.calibrations.values()]
    return metrics.MetricsV1(
        model=metrics.OfModel(name=config.name, version=config.version, digest=of.digest),
        data=metrics.OfData(
            data=Path(of.data).name, split=of.split, n=len(of.samples), seed=of.seed, digest=of.samples.digest
        ),
        temperature_low=_round(min(temperatures)), temperature_high=_round(max(temperatures)),
        presence={
            name: _presence(one) for name, one in findings.measured.items() if len(one.truth) and one.has_label
        },
        labels=_labels(first, findings.ranking) if first.has_label else {},
        confusion=first.confusion.tolist() if first.has_label else [],
        heads=told_of_heads(config, findings.measured),
        auroc=_rounded(auroc), average_precision=_rounded(precision),
        groups=[_grouping(one) for one in findings.groups],
        robustness=[_spoiled(one) for one in findings.spoiled],
        adversarial=[] if probe is None or isinstance(probe, str) else [_spoiled(one) for one in probe],
        adversarial_impossible=probe if isinstance(probe, str) else None,
    )  # fmt: skip


def _presence(one: Measured) -> metrics.OfPresence:
    sets = one.sets if one.least is not None else None
    return metrics.OfPresence(
        n=len(one.truth), accuracy=_share(share_of(one.said == one.truth)), macro_f1=_round(one.macro_f1),
        calibration_error=_round(one.calibration_error),
        right_in_set=None if sets is None else _share(share_of(sets[range(len(sets)), one.truth])),
        labels_in_set=None if sets is None else _round(float(sets.sum(axis=1).mean())),
        not_familiar=_strange(one),
    )  # fmt: skip


def _labels(first: Measured, of_labels: Sequence[Ranked]) -> dict[str, metrics.OfLabel]:
    counts, told = first.confusion, {}
    for number, one in enumerate(of_labels):
        right, said = int(counts[number, number]), int(counts[:, number].sum())
        precision, recall = right / max(said, 1), right / max(one.positives, 1)
        told[one.name] = metrics.OfLabel(
            n=one.positives, precision=_round(precision), recall=_round(recall),
            f1=_round(2 * right / max(said + one.positives, 1)),
            auroc=_rounded(one.auroc), average_precision=_rounded(one.precision),
        )  # fmt: skip
    return told


def told_of_heads(config: FusionConfig, measured: Mapping[str, Measured]) -> dict[str, metrics.OfHead]:
    """By the name of each further head."""
    return {
        head.name: metrics.OfHead(
            kind=head.kind, unit=head.unit, level=head.level if head.kind == NUMBER else None,
            presence={name: _of_head(one) for name, one in told.items()},
            labels=_head_labels(next(iter(told.values()))) if told else {},
        )
        for head, told in by_head(config, measured)
    }  # fmt: skip


def _of_head(one: HeadMeasured) -> metrics.OfChosen | metrics.OfNumber:
    if one.head.kind != NUMBER:
        return metrics.OfChosen(n=len(one.truth), accuracy=_share(share_of(one.right)), macro_f1=_round(one.macro_f1))
    low, high = one.mae_interval
    return metrics.OfNumber(
        n=len(one.truth), mae=_digits(one.mae), mae_low=_digits(low), mae_high=_digits(high), rmse=_digits(one.rmse),
        r2=_round(one.r2), in_band=_share(share_of(one.inside)), band=_digits(one.band),
    )  # fmt: skip


def _head_labels(one: HeadMeasured) -> dict[str, metrics.OfHeadLabel]:
    if one.head.kind == NUMBER:
        return {}
    count = len(one.head.labels)
    least: Sequence[float | None] = one.thresholds if one.head.kind == LABELS else [None] * count
    told = zip(one.head.labels, one.true.sum(axis=0).tolist(), least, one.each.tolist(), strict=True)
    return {
        name: metrics.OfHeadLabel(
            n=number, threshold=_rounded(at), precision=_round(precision), recall=_round(recall), f1=_round(f1)
        )
        for name, number, at, (precision, recall, f1) in told
    }


def _grouping(one: Grouping) -> metrics.OfGrouping:
    return metrics.OfGrouping(
        by=one.by, groups=[_group(each) for each in one.groups],
        small=None if one.small is None else _group(one.small), gap=_gap(one.gap),
        positive=one.positive, found_gap=_gap(one.found_gap),
    )  # fmt: skip


def _group(one: Group) -> metrics.OfGroup:
    return metrics.OfGroup(
        name=one.name, n=one.right.count, accuracy=_share(one.right), macro_f1=_round(one.macro_f1),
        not_familiar=_maybe(one.strange), found=_maybe(one.found), false=_maybe(one.false),
    )  # fmt: skip


def _gap(one: Gap | None) -> metrics.GapOf | None:
    if one is None:
        return None
    numbers = {name: _round(getattr(one, name)) for name in ("value", "low", "high", "chance")}
    return metrics.GapOf(best=one.best, worst=one.worst, **numbers)


def _spoiled(one: Spoiled) -> metrics.OfSpoiled:
    fall, low, high = one.fall
    return metrics.OfSpoiled(
        modality=one.modality, name=one.name, strength=one.strength, n=len(one.plain.truth),
        before=_round(one.plain.accuracy), accuracy=_share(share_of(one.spoiled.said == one.spoiled.truth)),
        fall=_round(fall), fall_low=_round(low), fall_high=_round(high), not_familiar=_strange(one.spoiled),
    )  # fmt: skip


def _strange(one: Measured) -> metrics.ShareOf | None:
    return None if one.strange is None else _share(share_of(one.strange))


def _maybe(share: Share | None) -> metrics.ShareOf | None:
    return _share(share) if share is not None and share.count else None


def _share(share: Share) -> metrics.ShareOf:
    low, high = share.interval
    return metrics.ShareOf(value=_round(share.value), low=_round(low), high=_round(high), n=share.count)


def _rounded(value: float | None) -> float | None:
    return None if value is None else _round(value)


def _round(value: float) -> float:
    return round(value, _PLACES)


def _digits(value: float) -> float:
    """What has a unit may be of any size."""
    return float(f"{value:.{_PLACES}g}")
