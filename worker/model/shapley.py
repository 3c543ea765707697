"""What each input adds to a value: exact Shapley values, from the value of every set of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import factorial


def shapley(values: Sequence[float], inputs: tuple[int, ...]) -> list[float]:
    """One per input, in their order; with the value of no input they sum to the value of all of them.

    Source: Shapley, A value for n-person games (1953).

    Args:
        values: by set; bit n of a set's number is input n.
        inputs: the numbers of those that take part.
    """
    return [
        sum(share * (values[without | 1 << number] - values[without]) for without, share in sets)
        for number, sets in zip(inputs, _shares(inputs), strict=True)
    ]


@lru_cache(maxsize=256)
def _shares(inputs: tuple[int, ...]) -> list[list[tuple[int, float]]]:
    """Per input each set of the others, and how often the input comes just after that set in a random order."""
    count = len(inputs)
    found = []
    for number in inputs:
        others = [one for one in inputs if one != number]
        sets = []
        for chosen in range(2 ** len(others)):
            members = [one for place, one in enumerate(others) if chosen >> place & 1]
            share = factorial(len(members)) * factorial(count - len(members) - 1) / factorial(count)
            sets.append((sum(1 << one for one in members), share))
        found.append(sets)
    return found
