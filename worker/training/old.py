"""`--old-data` -> what the model of `--init` was trained on: some of it trained on again, and how much is forgotten."""

from __future__ import annotations

import math
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from worker.errors import ConfigError, Fatal
from worker.model.config import FusionConfig
from worker.model.inputs import numbers_of
from worker.model.kinds import LABEL, LABELS, NUMBER
from worker.model.load import device_of
from worker.model.preprocess import Preprocessor
from worker.training.data import Samples
from worker.training.doubles import held_already
from worker.training.evaluate import Measured, labels_of, measure
from worker.training.head_measures import FIGURES, HeadMeasured, of_heads
from worker.training.intervals import paired
from worker.training.presence import ALL
from worker.training.rows import NO_LABEL, Sample
from worker.training.sources import Data, check_labels, read
from worker.training.start import Start
from worker.training.targets import Target

# Rows of the new data that are left out where the old has them: what is measured was not learned.
_NEW_OUT = {"train": ("test",), "dev": ("test", "train"), "test": ("train",)}
# What must not fall of each kind of head; a number that is the same in all rows has no R2.
_GUARDED = {LABEL: "accuracy", LABELS: "macro-F1", NUMBER: "R2"}
_OF_ONE_NUMBER = "share in band"


@dataclass(frozen=True, slots=True)
class Old:
    """What the earlier model knew.

    Attributes:
        data: the new data, with old rows in its train and dev split, and old inputs beside its own.
        test: the old test split, with the inputs' names of `data`.
        before: what the earlier model says of it.
        heads: the same of its further heads.
        told: how many rows are used again, and what was left out, a sentence each.
    """

    data: Data
    test: list[Sample]
    before: Measured
    heads: Sequence[HeadMeasured]
    told: tuple[str, ...]


def with_old(arguments: Namespace, data: Data, start: Start | None) -> Old | None:
    """The old data beside the new; None without `--old-data`. Of each old label as many rows are trained on again as
    make both alike in number; what is measured is none that either model learns from.

    Args:
        start: the model of `--init`.

    Raises:
        ConfigError: there is no `start`; the old data cannot be read, is not of that model's inputs, or has an input
            that is of another modality in the new; rows of one have labels and rows of the other none.
    """
    if arguments.old_data is None:
        return None
    if start is None:
        raise ConfigError("--old-data: has an effect with --init alone")
    old = read(arguments.old_data, arguments.samples, arguments.seed)
    config = start.config
    _check_labelled(data, old)
    known = old.fitting(config, f"--init {start.folder}, --old-data {arguments.old_data}")
    reads = Preprocessor(config, start.reads)
    rows = Samples(known.splits["test"], list(known.inputs), labels_of(config), config, reads)
    before = measure(start.model.to(device_of(arguments.device)), rows, arguments.batch, ALL)
    start.model.to("cpu")
    names = _names(config, known, data)
    renamed = {split: [_renamed(one, names) for one in samples] for split, samples in known.splits.items()}
    inputs = dict(data.inputs)
    for name, modality in known.inputs.items():
        if inputs.setdefault(names[name], modality) != modality:
            raise ConfigError(
                f"--old-data {arguments.old_data}: {names[name]} is {modality} there and {inputs[names[name]]} in "
                "--data; name one of them otherwise"
            )
    splits, told = _beside(data.splits, renamed, arguments.seed)
    check_labels(splits)
    return Old(replace(data, inputs=inputs, splits=splits), renamed["test"], before, of_heads(config, before), told)


def _check_labelled(data: Data, old: Data) -> None:
    """Either all rows of both have a label, or none has: `no_label` beside others would be a class of its own."""
    rows = [row for one in (data, old) for samples in one.splits.values() for row in samples]
    without = next((row for row in rows if row.label == NO_LABEL and row.targets), None)
    other = next((row for row in rows if row.label != NO_LABEL), None)
    if without is not None and other is not None:
        raise ConfigError(
            f"--old-data: {without.place} has no label, where {other.place} has {other.label!r:.80}; either all rows "
            "of --data and --old-data have one, or none beside its targets"
        )


def _beside(
    new: Mapping[str, Sequence[Sample]], old: Mapping[str, Sequence[Sample]], seed: int
) -> tuple[dict[str, list[Sample]], tuple[str, ...]]:
    """The new rows with old ones in train and dev, and what to tell.

    Raises:
        ConfigError: the old data has all rows of a split of the new.
    """
    splits, told = {}, []
    for split, samples in new.items():
        out = held_already(samples, {other: old[other] for other in _NEW_OUT[split]})
        splits[split] = _without(samples, out)
        told += _left_out(f"{split} of --data", out, "of --old-data")
        if not splits[split]:
            raise ConfigError(f"--old-data: has all {len(samples)} rows of {split} of --data; {'; '.join(told)}")
    test, count = [*splits["test"], *old["test"]], []
    held = {"train": {"test": test, "dev": splits["dev"]}, "dev": {"test": test, "train": splits["train"]}}
    for split, splits_with in held.items():
        out = held_already(old[split], splits_with)
        again = _drawn(_without(old[split], out), len(splits[split]), seed)
        count.append(f"{len(again)} of {split}")
        told += _left_out(f"{split} of --old-data", out, "of --data or --old-data")
        splits[split] = [*splits[split], *again]
    return splits, (f"old data: {', '.join(count)} are used again", *told)


def _without(samples: Sequence[Sample], out: Mapping[int, str]) -> list[Sample]:
    return [one for number, one in enumerate(samples) if number not in out]


def _left_out(what: str, out: Mapping[int, str], where: str) -> list[str]:
    return [
        f"old data: {'1 row' if count == 1 else f'{count} rows'} of {what} left out: {split} {where} has the same"
        f"{'' if split == 'train' else ', or a body of it'}"
        for split, count in Counter(out.values()).items()
    ]


def fall(old: Old, config: FusionConfig, after: Measured, most: float) -> str:
    """How what is right of the old test split has changed, of the label and of each further head, in a sentence.

    Args:
        config: of the new model.

    Raises:
        Fatal: one of them fell by more than `most`.
    """
    found = [*_of_label(old.before, after), *_of_heads(old.heads, of_heads(config, after))]
    told = f"the old test set: {'; '.join(said for said, _ in found)}"
    if any(lost > most for _, lost in found):
        raise Fatal(f"{told}; each may fall by {most:g} (--most-fall): no model is written")
    return told


def _of_label(before: Measured, after: Measured) -> Iterator[tuple[str, float]]:
    """A sentence and by how much it fell; nothing of a model that has further heads alone."""
    if not before.has_label:
        return
    truth = [before.names[number] for number in before.truth]
    one, other = (_right(measured, truth) for measured in (before, after))
    lost = float(one.mean() - other.mean())
    low, high = paired(_as_measured(other), _as_measured(one), lambda measured: measured.accuracy)
    said = (
        f"accuracy {one.mean():.3f} before, {other.mean():.3f} now ({-lost:+.3f}, 95 % {low:+.3f} to "
        f"{high:+.3f}, n = {len(truth)})"
    )
    yield said, lost


def _of_heads(before: Sequence[HeadMeasured], after: Sequence[HeadMeasured]) -> Iterator[tuple[str, float]]:
    """The same of each further head whose truth a row tells."""
    now = {(one.head.name, one.head.kind): one for one in after}
    for one in (one for one in before if len(one.truth)):
        head = one.head
        if (other := now.get((head.name, head.kind))) is None:
            yield f"head {head.name} ({head.kind}) is gone", math.inf
            continue
        is_one = head.kind == NUMBER and not np.ptp(one.truth)
        figure = _OF_ONE_NUMBER if is_one else _GUARDED[head.kind]
        was, is_now = (FIGURES[head.kind][figure](each) for each in (one, other))
        more = f", MAE {one.mae:.4g} before, {other.mae:.4g} now" if head.kind == NUMBER else ""
        said = (
            f"head {head.name} {figure} {was:.3f} before, {is_now:.3f} now ({is_now - was:+.3f}, "
            f"n = {len(one.truth)}){more}"
        )
        yield said, was - is_now


def _right(measured: Measured, truth: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([measured.names[said] == label for said, label in zip(measured.said, truth, strict=True)])


def _as_measured(right: NDArray[np.bool_]) -> Measured:
    """Right and wrong as a model's verdicts, so that both are drawn alike."""
    return Measured(np.eye(2)[right.astype(int)], np.ones(len(right), int), 1.0, ("wrong", "right"))


def _names(config: FusionConfig, known: Data, data: Data) -> dict[str, str]:
    """Of each old input its name beside the new ones: that of the new input which takes its place, or the model's."""
    taking = {number: name for name, number in numbers_of(config, data.inputs).items() if number is not None}
    return {name: taking.get(number, config.names[number]) for number, name in enumerate(known.inputs)}


def _renamed(sample: Sample, names: dict[str, str]) -> Sample:
    return replace(sample, bodies={names[name]: bodies for name, bodies in sample.bodies.items()})


def _drawn(samples: Sequence[Sample], most: int, seed: int) -> list[Sample]:
    """About `most`, of each label alike, and two at least of it and of each further head's word, drawn by
    the seed."""
    labels = {sample.label for sample in samples}
    each, seen, chosen = max(2, most // max(1, len(labels))), defaultdict[object, int](int), []
    for number in np.random.default_rng(seed).permutation(len(samples)):
        sample = samples[number]
        words = [(name, word) for name, told in sample.targets.items() for word in _words(told)]
        seen[sample.label] += 1
        if seen[sample.label] <= each or any(seen[word] < 2 for word in words):
            chosen.append(sample)
            for word in words:
                seen[word] += 1
    return chosen


def _words(told: Target) -> tuple[str, ...]:
    """Of a further head; a number has none."""
    return told if isinstance(told, tuple) else (told,) if isinstance(told, str) else ()
