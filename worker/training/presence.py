"""Which inputs of a sample the model sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.model.items import Item


@dataclass(frozen=True, slots=True)
class Presence:
    """Which inputs the model sees.

    Attributes:
        shown: these alone, by their numbers, of samples that have them all; None: all that a sample has.
        dropout: of a sample with several inputs, how often only some are shown: any of the ways to hide one or more
            and to leave one or more is as likely as the others.
    """

    shown: tuple[int, ...] | None = None
    dropout: float = 0.0


ALL = Presence()


def patterns(names: Sequence[str]) -> dict[str, Presence]:
    """The presence patterns that are reported: all, all but one, one alone."""
    numbers = range(len(names))
    found = {"all": Presence(tuple(numbers))}
    if len(names) > 2:
        found |= {f"no {names[n]}": Presence(tuple(m for m in numbers if m != n)) for n in numbers}
    if len(names) > 1:
        found |= {f"{names[n]} only": Presence((n,)) for n in numbers}
    return found


def hide(item: Item, presence: Presence, rng: np.random.Generator) -> Item:
    """The item as this presence shows it; what it has at least one of, it keeps at least one of."""
    if presence.shown is not None:
        return item.only(presence.shown)
    there = item.present
    if rng.random() >= presence.dropout or len(there) < 2:
        return item
    while True:
        kept = [number for number in there if rng.random() < 0.5]
        if 0 < len(kept) < len(there):
            return item.only(kept)
