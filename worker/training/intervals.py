"""How far a figure may lie from what many more samples would show: 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Z = 1.959964  # Of 95 %, two-sided.
_DRAWS = 1000


class Sampled(Protocol):
    """What was measured on N samples."""

    @property
    def truth(self) -> NDArray[Any]:
        """[N] or [N, W]."""

    def picked(self, numbers: NDArray[np.int64]) -> Self:
        """Of these samples, by their numbers; one may be named more than once."""


One = TypeVar("One", bound=Sampled)


def wilson(right: int, count: int) -> tuple[float, float]:
    """Of a share, `right` of `count` (Wilson, 1927); it stays within 0..1 and is no point for 0 or all."""
    share, spread = right / count, Z**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def paired(one: One, other: One, figure: Callable[[One], float]) -> tuple[float, float]:
    """Of figure(one) - figure(other) on the same samples, in the same order: the bootstrap, drawn for both alike."""
    assert len(one.truth) == len(other.truth)
    rng, count = np.random.default_rng(0), len(one.truth)
    drawn = [rng.integers(count, size=count) for _ in range(_DRAWS)]
    differences = [figure(one.picked(some)) - figure(other.picked(some)) for some in drawn]
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)
