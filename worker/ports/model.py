"""The model behind the batcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from worker.records import Aligned, Verdict


class Model(Protocol):
    """The fusion model behind the batcher."""

    @property
    def info(self) -> Mapping[str, str]:
        """name, version, device, precision."""

    @property
    def lanes(self) -> int:
        """How many batches may be in `infer` at once, each in a thread of its own."""

    def prepare(self, aligned: Aligned, begins: Callable[[str, int], None]) -> Any:
        """Decodes and tokenises one item; runs in any thread. `begins(stream, number)` is called before each body.

        Raises:
            Poison: stage DECODE; `stream` and `number` name the event whose body cannot be decoded.
        """

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        """One verdict per prepared item, in the same order.

        Raises:
            Poison: stage MODEL, for a batch of one whose item gives no finite scores.
        """


def told_of(model: Model) -> Mapping[str, str]:
    """Name and version, as results tell them."""
    return {name: model.info[name] for name in ("name", "version")}
