"""How far a figure may lie from what many more samples would show: 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
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


def wilson(right: int, count: int, z: float = Z) -> tuple[float, float]:
    """Of a share, `right` of `count` (Wilson, 1927); it stays within 0..1 and is no point for 0 or all."""
    share, spread = right / count, z**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def newcombe(one: tuple[int, int], other: tuple[int, int], pairs: int = 1) -> tuple[float, float]:
    """Of the difference of two shares of different samples, each (right, count) (Newcombe, 1998, his method 10).

    Of the best and the worst of several, `pairs` is how many pairs there are: the interval then holds for all of them
    together (Bonferroni), so that having looked for the widest does not make it too narrow.
    """
    z = NormalDist().inv_cdf(1 - 0.025 / pairs)
    (p, q), ((p_low, p_high), (q_low, q_high)) = (
        [right / count for right, count in (one, other)],
        [wilson(right, count, z) for right, count in (one, other)],
    )
    low = p - q - math.hypot(p - p_low, q_high - q)
    high = p - q + math.hypot(p_high - p, q - q_low)
    return max(-1.0, low), min(1.0, high)


def paired_shares(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[float, float]:
    """Of mean(one) - mean(other), told of the same samples: the bootstrap over samples, as `paired`."""
    differences = one.astype(int) - other.astype(int)
    shares = [float((differences == value).mean()) for value in (-1, 0, 1)]
    drawn = np.random.default_rng(0).multinomial(len(differences), shares, size=_DRAWS)
    low, high = np.quantile((drawn[:, 2] - drawn[:, 0]) / len(differences), [0.025, 0.975])
    return float(low), float(high)


def paired(one: One, other: One, figure: Callable[[One], float]) -> tuple[float, float]:
    """Of figure(one) - figure(other) on the same samples, in the same order: the bootstrap, drawn for both alike."""
    assert len(one.truth) == len(other.truth)
    rng, count = np.random.default_rng(0), len(one.truth)
    drawn = [rng.integers(count, size=count) for _ in range(_DRAWS)]
    differences = [figure(one.picked(some)) - figure(other.picked(some)) for some in drawn]
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)
