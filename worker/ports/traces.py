"""Traces: which span a batch and a transaction have, if any."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from worker.records import Aligned, Outcome
from worker.trace import Trace


class HasAligned(Protocol):
    """An item on its way to the model."""

    @property
    def aligned(self) -> Aligned:
        """The anchor and what was matched to it."""


class Traces(Protocol):
    """Makes spans; safe to call from any thread, and never waits for anything outside. What is raised within a span is
    told by it and goes on."""

    def process(self, batch: Sequence[HasAligned]) -> AbstractContextManager[Trace | None]:
        """Lasts while the model works on the batch; None: this batch is not recorded."""

    def settle(self, outcomes: Sequence[Outcome]) -> AbstractContextManager[Trace | None]:
        """Lasts as long as the transaction of these outcomes; how that ended is told by what is raised within."""


class Untraced:
    """Traces that are off: nothing is made."""

    def __init__(self) -> None:
        self._nothing: AbstractContextManager[None] = nullcontext()

    def process(self, batch: Sequence[HasAligned]) -> AbstractContextManager[Trace | None]:
        """Nothing."""
        return self._nothing

    def settle(self, outcomes: Sequence[Outcome]) -> AbstractContextManager[Trace | None]:
        """Nothing."""
        return self._nothing


UNTRACED = Untraced()
