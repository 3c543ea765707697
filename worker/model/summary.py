"""A batch as it goes to the model -> a few numbers of each item, cheap ones, that tell whether inputs have changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from worker.model.config import FusionConfig
from worker.model.drift import ABSENT
from worker.model.preprocess import NO_TOKEN, columns_of
from worker.records import Verdict

SAID = SCORE, LABEL, FAMILIAR = "score", "label", "familiar"
# So many pixels a side of an image, and every so many frames of a sound: enough for a mean and a spread.
_GRID, _FRAMES_APART = 14, 8
_DECIBELS = 10 / np.log(10)

Numbers = NDArray[np.float64]


class _Input(NamedTuple):
    """Columns from `first` on: whether an item has the input, and the numbers of its newest body."""

    first: int
    modality: str
    width: int


class Summary:
    """Of each item: what is said of it, and per input whether it is there and what its newest body is like.

    Attributes:
        names: of the columns.
        edges: of those whose cells are known without looking at data.
    """

    def __init__(self, config: FusionConfig, tokenizer: Tokenizer) -> None:
        self.names: list[str] = [*SAID]
        self._labels = {config.id2label[number]: number for number in range(config.num_labels)}
        self.edges: dict[str, Sequence[float]] = {LABEL: [n + 0.5 for n in range(config.num_labels - 1)]}
        self._unknown = next((n for p in ("[UNK]", "<unk>") if (n := tokenizer.token_to_id(p)) is not None), NO_TOKEN)
        self._places = [columns_of(config, name)[0] for name in config.names]
        self._inputs: list[_Input] = []
        for number, (name, modality) in enumerate(zip(config.names, config.inputs, strict=True)):
            channels = [config.channel_names[place] for place in self._places[number]]
            told = {
                "image": [f"brightness/{name}", f"contrast/{name}"],
                "text": [f"tokens/{name}", f"unknown/{name}"],
                "sensor": [f"value/{name}/{channel}" for channel in channels],
                "audio": [f"loudness/{name}"],
            }[modality]
            self._inputs.append(_Input(len(self.names), modality, len(told)))
            self.edges[f"present/{name}"] = [0.5]
            self.names += [f"present/{name}", *told]

    def of(self, arguments: Mapping[str, Any]) -> Numbers:
        """[B, columns] of the arguments of FusionModel.forward, before they go to a device; what is said is NaN."""
        values = np.full((arguments["items"], len(self.names)), np.nan)
        for number, (first, modality, width) in enumerate(self._inputs):
            owners = arguments["item_of"][number].numpy()
            # Owners rise, and the bodies of each are in the order of their times.
            newest = np.flatnonzero(np.append(owners[1:] != owners[:-1], True))[: len(owners)]
            there = owners[newest]
            values[:, first : first + 1 + width] = [0.0, *[ABSENT] * width]
            values[there, first] = 1.0
            if len(there):
                told = self._told(number, modality, arguments["bodies"][number], newest)
                values[there, first + 1 : first + 1 + width] = told
        return values

    def said(self, values: Numbers, verdicts: Sequence[Verdict]) -> Numbers:
        """`values` of as many items as there are verdicts, with what these say."""
        told = [
            (one.score, self._labels[one.label], one.confidence.familiar if one.confidence else ABSENT)
            for one in verdicts
        ]
        # Two places: by less a number format or a device moves a score.
        values[: len(told), : len(SAID)] = np.round(told, 2)
        return values[: len(told)]

    def _told(self, number: int, modality: str, bodies: Tensor, newest: NDArray[np.int64]) -> Numbers:
        if modality == "image":
            return _light(bodies, newest)
        if modality == "audio":
            loudness = bodies[:, :, ::_FRAMES_APART].numpy()[newest].mean((1, 2), dtype=np.float64)
            return np.asarray(np.round(loudness[:, None] * _DECIBELS, 1))
        own = bodies.numpy()[newest]
        if modality == "text":
            count = (own != NO_TOKEN).sum(axis=1)
            strange = (own == self._unknown).sum(axis=1) if self._unknown != NO_TOKEN else np.zeros_like(count)
            return np.stack([count, strange / np.maximum(count, 1)], axis=1)
        return _last_known(own[:, :, self._places[number]])


def _light(images: Tensor, newest: NDArray[np.int64]) -> Numbers:
    """The mean of the pixels of [M, 3, S, S] and their standard deviation, 0 to 255; in whole numbers, so that it does
    not depend on neighbours."""
    step = max(1, images.shape[2] // _GRID)
    own = images[:, :, ::step, ::step].numpy()[newest].reshape(len(newest), -1).astype(np.int64)
    count, total = own.shape[1], own.sum(axis=1)
    spread = np.sqrt(count * (own * own).sum(axis=1) - total * total)
    return np.round(np.stack([total, spread], axis=1) / count, 1)


def _last_known(series: NDArray[np.float32]) -> Numbers:
    """Of each channel of [P, S, C] the newest number, NaN where it has none."""
    newest_first = series[:, ::-1]
    place = (~np.isnan(newest_first)).argmax(axis=1)
    return np.take_along_axis(newest_first, place[:, None], axis=1)[:, 0].astype(np.float64)
