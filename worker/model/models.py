"""The model of now, which another may follow between two batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from worker.model.drift import Drift
from worker.model.sums import Sums
from worker.ports import Model, told_of
from worker.records import Aligned, Verdict, value

if TYPE_CHECKING:  # it brings torch, which the first mistakes are told without
    from worker.model.heads import Head


class Servable(Model, Protocol):
    """A model with what a worker tells of it."""

    @property
    def labels(self) -> Sequence[str]:
        """What it may say."""

    @property
    def heads(self) -> Sequence[Head]:
        """What else it says."""

    @property
    def drift(self) -> Drift | None:
        """Its last verdicts against its reference; None: it has none."""

    @property
    def prepares(self) -> str:
        """Models with the same one prepare alike."""

    @property
    def sums(self) -> Sums | None:
        """What its files were held against; None: they have no list."""


@value
class Ready:
    """An item, with the model that prepared it: no other can answer it."""

    model: Servable
    item: Any
    aligned: Aligned

    @property
    def nbytes(self) -> int:
        """Of what was prepared."""
        return int(getattr(self.item, "nbytes", 0))


class Models:
    """worker.ports.Model: hands everything to the model of now. Thread-safe.

    Guarantees: an item is answered by the model that prepared it, and its verdict names that model; a model is let go
    with the last of its items.

    Attributes:
        now: the model of now.
        answered: an anchor of the last batch that was answered; None: there was none.
        heard: hears what was asked, and what was answered.
    """

    def __init__(self, first: Servable) -> None:
        self.now = first
        self.answered: Aligned | None = None
        self.heard: Callable[[Sequence[Ready], Sequence[Verdict]], object] | None = None
        self.lanes = first.lanes

    @property
    def info(self) -> Mapping[str, str]:
        """Of the model of now."""
        return self.now.info

    def take_over(self, model: Servable) -> None:
        """From now on items are prepared for this model."""
        self.now = model

    def prepare(self, aligned: Aligned, begins: Callable[[str, int], None]) -> Ready:
        """See Model."""
        model = self.now
        return Ready(model, model.prepare(aligned, begins), aligned)

    def infer(self, batch: Sequence[Ready]) -> list[Verdict]:
        """See Model. A batch across a change is asked in parts."""
        verdicts: list[Verdict] = []
        for model, ready in groupby(batch, key=attrgetter("model")):
            told = told_of(model)
            verdicts += [replace(one, model=told) for one in model.infer([one.item for one in ready])]
        self.answered = batch[-1].aligned
        if self.heard is not None:
            self.heard(batch, verdicts)
        return verdicts
