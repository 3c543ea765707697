"""The sensors' readings of the training split -> the channels of a model: a field's number, and each of its words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from worker.errors import ConfigError, Poison
from worker.model.preprocess import Body
from worker.model.signals import Column, read_sensor, word_of
from worker.training.bodies import series_of
from worker.training.rows import Sample, reading_form
from worker.training.sources import Data

# Of a field; the most frequent ones. What has more, such as names and numbers of things, tells little by each.
MOST_WORDS = 32
# A word that is seen less often is what all words look like that were never seen, so that these are learned too.
FEWEST_SEEN = 2
Read = TypeVar("Read")


def channels_of(data: Data) -> dict[str, Any]:
    """The settings `channels`, `channel_...` of FusionConfig: those of each sensor in turn, fields by name.

    Raises:
        ConfigError: a sensor has no number, and no word that tells anything; or a reading is none.
    """
    told: dict[str, list[Any]] = {name: [] for name in ("channels", "words", "inputs", "mean", "std")}
    for name in [name for name, modality in data.inputs.items() if modality == "sensor"]:
        bodies = [(sample, body) for sample in data.splits["train"] for body in sample.bodies.get(name, ())]
        columns = _columns(bodies)
        if not columns:
            raise ConfigError(
                f"--data: the sensor {name} has no numbers in the train split, nor words that differ and come twice; "
                f"{reading_form(name)}"
            )
        mean, std = _statistics(bodies, columns)
        told["channels"] += [one.field for one in columns]
        told["words"] += [one.word for one in columns]
        told["inputs"] += [name] * len(columns)
        told["mean"] += mean
        told["std"] += std
    return {name if name == "channels" else f"channel_{name}": values for name, values in told.items()}


@dataclass(slots=True)
class _Field:
    """What one field of a sensor holds: whether numbers, in how many readings each word, and in how many any."""

    is_number: bool = False
    words: Counter[str] = field(default_factory=Counter)
    with_word: int = 0


def _columns(bodies: Sequence[tuple[Sample, Body]]) -> list[Column]:
    fields: dict[str, _Field] = {}
    for sample, body in bodies:
        for name, values in _of(sample, lambda: series_of(body)).items():  # noqa: B023
            found = fields.setdefault(name, _Field())
            words = {word_of(name, one) for one in values if isinstance(one, str | bool)}
            found.words.update(words)
            found.with_word += bool(words)
            found.is_number |= any(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
    return [column for name in sorted(fields) for column in _columns_of(name, fields[name], len(bodies))]


def _columns_of(name: str, found: _Field, readings: int) -> Iterator[Column]:
    if found.is_number:
        yield Column(name)
    if len(found.words) == 1 and found.with_word == readings:
        return  # The same in every reading: it tells nothing.
    common = sorted(found.words.items(), key=lambda one: (-one[1], one[0]))[:MOST_WORDS]
    for word in sorted(word for word, seen in common if seen >= FEWEST_SEEN):
        yield Column(name, word)


def _statistics(bodies: Sequence[tuple[Sample, Body]], columns: Sequence[Column]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each number; words stay 0 and 1."""
    steps = [_of(sample, lambda: read_sensor(body.payload, columns, body.stream)) for sample, body in bodies]  # noqa: B023
    values = torch.cat(steps).double().numpy()
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0).sum(axis=0) / count
    std = np.sqrt(np.where(known, (values - mean) ** 2, 0).sum(axis=0) / count)
    is_word = np.array([one.word is not None for one in columns])
    return np.where(is_word, 0.0, mean).tolist(), np.where(is_word | (std == 0), 1.0, std).tolist()


def _of(sample: Sample, read: Callable[[], Read]) -> Read:
    try:
        return read()
    except Poison as error:
        raise ConfigError(f"{sample.place}: {error}") from error
