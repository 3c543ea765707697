"""`--old-data` -> what the model of `--init` was trained on: some of it trained on again, and how much is forgotten."""

from __future__ import annotations

from argparse import Namespace
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from worker.errors import ConfigError, Fatal
from worker.model.config import FusionConfig
from worker.model.inputs import numbers_of
from worker.model.load import device_of
from worker.model.preprocess import Preprocessor
from worker.training.data import Samples
from worker.training.doubles import held_already
from worker.training.evaluate import Measured, labels_of, measure
from worker.training.intervals import paired
from worker.training.presence import ALL
from worker.training.rows import Sample
from worker.training.sources import Data, check_labels, read
from worker.training.start import Start


@dataclass(frozen=True, slots=True)
class Old:
    """What the earlier model knew.

    Attributes:
        data: the new data, with old rows in its train and dev split, and old inputs beside its own.
        test: the old test split, with the inputs' names of `data`.
        before: what the earlier model says of it.
    """

    data: Data
    test: list[Sample]
    before: Measured


def with_old(arguments: Namespace, data: Data, start: Start | None) -> Old | None:
    """The old data beside the new; None without `--old-data`. Of each old label as many rows are trained on again as
    make both alike in number; what either test split holds is left out.

    Args:
        start: the model of `--init`.

    Raises:
        ConfigError: there is no `start`; the old data cannot be read, is not of that model's inputs, or has an input
            that is of another modality in the new.
    """
    if arguments.old_data is None:
        return None
    if start is None:
        raise ConfigError("--old-data: has an effect with --init alone")
    old = read(arguments.old_data, arguments.samples, arguments.seed)
    config = start.config
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
    splits, held = dict(data.splits), {"test": [*data.splits["test"], *renamed["test"]]}
    for split in ("train", "dev"):
        out = held_already(renamed[split], held | ({"dev": data.splits["dev"]} if split == "train" else {}))
        left = [one for number, one in enumerate(renamed[split]) if number not in out]
        splits[split] = [*splits[split], *_drawn(left, len(splits[split]), arguments.seed)]
    check_labels(splits)
    return Old(replace(data, inputs=inputs, splits=splits), renamed["test"], before)


def fall(old: Old, after: Measured, most: float) -> str:
    """How the accuracy on the old test split has changed, in a sentence.

    Raises:
        Fatal: it fell by more than `most`.
    """
    truth = [old.before.names[number] for number in old.before.truth]
    one, other = (_right(measured, truth) for measured in (old.before, after))
    lost = float(one.mean() - other.mean())
    low, high = paired(_as_measured(other), _as_measured(one), lambda measured: measured.accuracy)
    told = (
        f"the old test set: accuracy {one.mean():.3f} before, {other.mean():.3f} now ({-lost:+.3f}, 95 % {low:+.3f} to "
        f"{high:+.3f}, n = {len(truth)})"
    )
    if lost > most:
        raise Fatal(f"{told}; it may fall by {most:g} (--most-fall): no model is written")
    return told


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
    """About `most`, of each label alike and two at least, drawn by the seed."""
    labels = {sample.label for sample in samples}
    each, seen, chosen = max(2, most // max(1, len(labels))), defaultdict[str, int](int), []
    for number in np.random.default_rng(seed).permutation(len(samples)):
        sample = samples[number]
        seen[sample.label] += 1
        if seen[sample.label] <= each:
            chosen.append(sample)
    return chosen
