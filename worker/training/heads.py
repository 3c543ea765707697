"""What samples tell beside their label -> the further heads of a model, and their truth as tensors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.errors import ConfigError
from worker.model.heads import DEFAULT_LEVEL, MOST_HEADS, Head, Heads
from worker.model.kinds import LABEL, LABELS, NUMBER
from worker.training.asked import Asked
from worker.training.rows import Sample
from worker.training.targets import MAY_BE, Target, kind_of, shown

_MOST_LABELS = 64  # Of a head: each is a series of metrics.
_Targets = TypeVar("_Targets", Tensor, NDArray[np.float64])


def heads_of(train: Sequence[Sample], asked: Sequence[Asked] = (), level: float = DEFAULT_LEVEL) -> list[Head]:
    """The heads that the train split tells, by name, as yet without what the dev split fits.

    Raises:
        ConfigError: names file and row of a target of another kind than the head's, or the head that cannot be
            learned.
    """
    told = {one.name: one for one in asked}
    first: dict[str, tuple[Sample, Target]] = {}
    for sample in train:
        for name, target in sample.targets.items():
            first.setdefault(name, (sample, target))
    if absent := [name for name in told if name not in first]:
        raise ConfigError(
            f"--head {absent[0]}: no row of train has it in its targets"
            + (f"; there are {', '.join(sorted(first))}" if first else "")
        )
    if len(first) > MOST_HEADS:
        raise ConfigError(f"--data: the targets have {len(first)} names; up to {MOST_HEADS} heads can be trained")
    made = []
    for name, (sample, target) in sorted(first.items()):
        one = told.get(name, Asked(name, kind_of(target)))
        because = f"as --head {name}={one.kind} says" if name in told else f"as {shown(target)} at {sample.place}"
        found = [(s, _fitting(s, name, s.targets[name], one.kind, because)) for s in train if name in s.targets]
        made.append(_learned(one, found, level))
    return made


def _fitting(sample: Sample, name: str, target: Target, kind: str, because: str) -> Target:
    """The value as this kind of head has it: a whole number may be the name of a label."""
    if kind_of(target) == kind:
        return target
    if kind == LABEL and isinstance(target, int):
        return str(target)
    raise ConfigError(
        f"{sample.place}: targets.{name}: {shown(target)} is {MAY_BE[kind_of(target)].partition(',')[0]}; the head "
        f"{name} is of kind {kind}, {because}: it may be {MAY_BE[kind]}, or null where it is not known"
    )


def _learned(one: Asked, found: Sequence[tuple[Sample, Target]], level: float) -> Head:
    if one.kind == NUMBER:
        return _number(one, [float(value) for _, value in found if not isinstance(value, str | tuple)], level)
    words = Counter(word for _, value in found for word in (value if isinstance(value, tuple) else (str(value),)))
    rare = next((word for word in sorted(words) if words[word] < 2), None)
    if rare is not None:
        place = next(s.place for s, value in found if value == rare or (isinstance(value, tuple) and rare in value))
        raise ConfigError(f"{place}: targets.{one.name}: is the only row of train with {rare!r}; two are needed")
    if len(words) < (2 if one.kind == LABEL else 1) or len(words) > _MOST_LABELS:
        least = "two" if one.kind == LABEL else "one"
        raise ConfigError(f"--data: targets.{one.name} has {len(words)} labels in train; it may have {least} to "
                          f"{_MOST_LABELS}")  # fmt: skip
    return Head(one.name, one.kind, tuple(sorted(words)))


def _number(one: Asked, told: Sequence[float], level: float) -> Head:
    if min(told) == max(told):
        raise ConfigError(f"--data: targets.{one.name} is {told[0]:g} in all {len(told)} rows of train; "
                          "a number that is to be learned differs")  # fmt: skip
    values = torch.tensor(told, dtype=torch.float64)
    mean, std = float(values.mean()), float(values.std(correction=0))
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise ConfigError(f"--data: targets.{one.name} reaches from {min(told):g} to {max(told):g} in train; its mean "
                          "and spread cannot be told in numbers of 64 bits: give it in another unit")  # fmt: skip
    return Head(one.name, NUMBER, mean=mean, std=std, unit=one.unit, level=level)


def encoded(heads: Heads, samples: Sequence[Sample]) -> Tensor:
    """What samples tell of each head, [N, W] at its `places`: the number of a label, 0 or 1 for each of labels, a
    number in `std` from its mean; NaN where a sample does not tell.

    Raises:
        ConfigError: names file and row of a target that the head cannot say.
    """
    rows = [[n for head in heads.each for n in _numbers(head, sample)] for sample in samples]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(samples), sum(map(_width, heads.each)))


def places(heads: Heads) -> list[tuple[Head, slice]]:
    """Each head, and which columns of `encoded` tell its truth."""
    ends = accumulate(map(_width, heads.each), initial=0)
    return [(head, slice(*own)) for head, own in zip(heads.each, pairwise(ends), strict=True)]


def beside_truth(heads: Heads, columns: Tensor, targets: _Targets) -> Iterator[tuple[Head, Tensor, _Targets]]:
    """Each head with its own of what the model says, [..., E], and of what is true, [..., W] as `encoded`."""
    for (head, said), (_, own) in zip(heads.parts(columns), places(heads), strict=True):
        yield head, said, targets[:, own]


def _width(head: Head) -> int:
    return len(head.labels) if head.kind == LABELS else 1


def _numbers(head: Head, sample: Sample) -> list[float]:
    if (told := sample.targets.get(head.name)) is None:
        return [math.nan] * _width(head)
    target = _fitting(sample, head.name, told, head.kind, "as the model was trained")
    if isinstance(target, int | float):
        return [(target - head.mean) / head.std]
    for word in target if isinstance(target, tuple) else (target,):
        if word not in head.labels:
            raise ConfigError(f"{sample.place}: targets.{head.name}: label {word!r} is not in the training data: "
                              f"{', '.join(head.labels)}")  # fmt: skip
    if isinstance(target, tuple):
        return [float(label in target) for label in head.labels]
    return [float(head.labels.index(target))]
