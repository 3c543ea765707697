"""Heads beside the label: what else a model says of an item, each from columns of its own of the same linear layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from worker.model.kinds import KINDS, LABEL, LABELS, NAME, NAME_FORM, NUMBER
from worker.model.shapley import shapley

MOST_HEADS = 16
DEFAULT_LEVEL = 0.9
_PLACES = 4  # Of scores, as of the label's.
_OF_STD = 3  # A number is told to a thousandth of its spread in the train split: more would be noise.
_OF_KIND = {
    LABEL: ("labels", "temperature"),
    LABELS: ("labels", "thresholds"),
    NUMBER: ("mean", "std", "unit", "level", "widened"),
}


@dataclass(frozen=True, slots=True)
class Head:
    """One of them.

    Attributes:
        name: under which results tell it.
        kind: `label`: one of several; `labels`: any of several, each by itself; `number`: one with a band.
        labels: of the first two.
        temperature: that the logits of a `label` are divided by; fitted on the dev split.
        thresholds: of `labels`, the score from which each is told; the best by F1 on the dev split.
        mean, std: of the number in the train split, in its unit.
        unit: what the number counts, such as `C`; None: not told.
        level: how often the band shall hold the number.
        widened: by how many `std` each end of the band lies beyond its quantile; fitted on the dev split, it may be
            negative.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    unit: str | None = None
    level: float = DEFAULT_LEVEL
    widened: float = 0.0

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Head:
        """As a model's configuration has it.

        Raises:
            ValueError: what it says is unknown or does not fit together.
        """
        known = {one.name for one in fields(cls)}
        if unknown := [name for name in told if name not in known]:
            raise ValueError(f"heads: unknown field {unknown[0]!r}; a head has {', '.join(sorted(known))}")
        sure: dict[str, Any] = {n: tuple(one) if isinstance(one, list) else one for n, one in told.items()}
        made = cls(**sure)
        made._check()
        return made

    def _check(self) -> None:
        where = f"heads: {self.name!r:.60}"
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ValueError(f"{where}: name {NAME_FORM}")
        if self.kind not in KINDS:
            raise ValueError(f"{where}: kind {self.kind!r}: must be one of {', '.join(KINDS)}")
        if self.kind != NUMBER and (not self.labels or len(set(self.labels)) < len(self.labels)):
            raise ValueError(f"{where}: labels: must be one or more, no two alike")
        if self.kind == LABELS and self.thresholds and len(self.thresholds) != len(self.labels):
            raise ValueError(f"{where}: thresholds: must be one for each of labels")
        told = (self.mean, self.std, self.widened, self.temperature, self.level, *self.thresholds)
        if not all(isinstance(one, int | float) and math.isfinite(one) for one in told):
            raise ValueError(f"{where}: mean, std, widened, temperature, level, thresholds: must be finite numbers")
        if self.std <= 0 or self.temperature <= 0 or not 0 < self.level < 1:
            raise ValueError(f"{where}: std and temperature must be above 0, level between 0 and 1")

    @property
    def told(self) -> dict[str, Any]:
        """As `of` reads it, and JSON can hold it."""
        return {name: one for name, one in asdict(self).items() if name in ("name", "kind", *_OF_KIND[self.kind])}

    @property
    def width(self) -> int:
        """How many columns it has; of a number its median and the two quantiles that the band begins with."""
        return 3 if self.kind == NUMBER else len(self.labels)

    @property
    def quantiles(self) -> tuple[float, float, float]:
        """Of a number, which quantile each column is trained to be."""
        outside = (1 - self.level) / 2
        return 0.5, outside, 1 - outside

    def read(self, columns: Tensor) -> Tensor:
        """[..., width] -> [..., width] in float64: a score for each label, or number, low, high in the unit.

        The band is [q_low - widened, q_high + widened] (Romano, Patterson, Candes, Conformalized Quantile Regression,
        2019), and reaches to the number itself where that lies outside.
        """
        given = columns.double()
        if self.kind == LABEL:
            return (given / self.temperature).softmax(dim=-1)
        if self.kind == LABELS:
            return given.sigmoid()
        middle, low, high = given.unbind(dim=-1)
        low, high = torch.minimum(low - self.widened, middle), torch.maximum(high + self.widened, middle)
        return self.mean + self.std * torch.stack([middle, low, high], dim=-1)

    def chosen(self, scores: Sequence[float]) -> list[str]:
        """The labels that are told: the likeliest, or of `labels` those at their threshold or above."""
        if self.kind == LABEL:
            return [self.labels[max(range(len(scores)), key=scores.__getitem__)]]
        least = self.thresholds or (0.5,) * len(self.labels)
        return [label for label, score, at in zip(self.labels, scores, least, strict=True) if score >= at]

    def result(self, row: Sequence[float]) -> dict[str, Any]:
        """What a result tells of one item; `row` as `read` gave it."""
        if self.kind == NUMBER:
            number, low, high = (self.rounded(one) for one in row)
            unit = {} if self.unit is None else {"unit": self.unit}
            return {"number": number, "low": low, "high": high, **unit}
        scores = {label: round(score, _PLACES) for label, score in zip(self.labels, row, strict=True)}
        said = self.chosen(row)
        if self.kind == LABELS:
            return {"labels": said, "scores": scores}
        return {"label": said[0], "score": scores[said[0]], "scores": scores}

    def adds(
        self, row: Sequence[float], sets: Sequence[Sequence[float]], present: tuple[int, ...], names: Sequence[str]
    ) -> dict[str, Any]:
        """What each input adds (Shapley) to the number, or to the score of every label that is told.

        Args:
            row: of the item.
            sets: the rows of every set of the inputs; bit n of a set's number is input n.
            present: the inputs that the item has.
            names: of all inputs.
        """
        at = {NUMBER: 0} if self.kind == NUMBER else {one: self.labels.index(one) for one in self.chosen(row)}
        told = {}
        for name, column in at.items():
            values = [one[column] for one in sets]
            added = dict(zip((names[n] for n in present), shapley(values, present), strict=True))
            told[name] = {
                "base": self.rounded(values[0]),
                "adds": {stream: self.rounded(one) for stream, one in added.items()},
            }
        return told

    def rounded(self, value: float) -> float:
        """To a thousandth of the number's spread; a score to four places."""
        places = _OF_STD - math.floor(math.log10(self.std)) if self.kind == NUMBER else _PLACES
        return round(value, places) + 0.0  # What rounds to -0 is 0.


class Heads:
    """All of a model's heads, in the order of their columns.

    Attributes:
        each: of them.
        width: of all columns.
    """

    def __init__(self, told: Sequence[Mapping[str, Any]]) -> None:
        """Raises ValueError, as `Head.of` does, or where two have one name, or there are more than 16."""
        self.each = tuple(Head.of(one) for one in told)
        if len({one.name for one in self.each}) < len(self.each):
            raise ValueError("heads: no two may have one name")
        if len(self.each) > MOST_HEADS:
            raise ValueError(f"heads: {len(self.each)} of them; up to {MOST_HEADS} are told")
        self.width = sum(one.width for one in self.each)

    @property
    def columns(self) -> list[tuple[str, str, str]]:
        """Of each column its head's name and kind, and the label or the number's end that it is of."""
        of_number = ("number", "low", "high")
        return [
            (one.name, one.kind, part)
            for one in self.each
            for part in (of_number if one.kind == NUMBER else one.labels)
        ]

    def parts(self, columns: Tensor) -> Iterator[tuple[Head, Tensor]]:
        """Each with its own of [..., width]."""
        yield from zip(self.each, torch.split(columns, [one.width for one in self.each], dim=-1), strict=True)

    def read(self, columns: Tensor) -> Tensor:
        """[..., width] -> [..., width] in float64, as `Head.read` has it."""
        return torch.cat([head.read(own) for head, own in self.parts(columns)], dim=-1)

    def results(self, rows: Tensor) -> list[dict[str, Any]]:
        """Per item of [B, width], as `read` gave them: by name what a result tells."""
        own = [(head, part.tolist()) for head, part in self.parts(rows)]
        return [{head.name: head.result(part[n]) for head, part in own} for n in range(len(rows))]

    def adds(
        self, rows: Tensor, sets: Tensor, present: Sequence[tuple[int, ...]], names: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Per item of rows [B, width] and sets [B, 2^inputs, width]: by name what each of its inputs adds."""
        own = [
            (head, part.tolist(), some.tolist())
            for (head, part), (_, some) in zip(self.parts(rows), self.parts(sets), strict=True)
        ]
        return [
            {head.name: head.adds(part[n], some[n], there, names) for head, part, some in own}
            for n, there in enumerate(present)
        ]
