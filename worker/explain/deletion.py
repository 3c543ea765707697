"""Attributions -> how faithful they are: the label's probability as its strongest grounds are hidden first.

A faithful attribution names what the model rests on, so hiding that first brings the probability down sooner than
hiding at random (deletion, Petsiuk, Das, Saenko, BMVC 2018). The measure is the mean of the probability along the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.explain.attribution import Attribution
from worker.explain.ground import Probe

RANDOM_ORDERS = 8
# Points of a curve; of a short text there are fewer.
MOST_POINTS = 20
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Deletion:
    """Curves of the label's probability.

    Attributes:
        name: the input, or `all` of them together.
        share: how much is hidden at each point, 0..1.
        curve: the strongest first.
        random: in random orders, a row each.
    """

    name: str
    share: tuple[float, ...]
    curve: tuple[float, ...]
    random: tuple[tuple[float, ...], ...]

    @property
    def area(self) -> float:
        """The mean probability while the strongest are hidden first; less is more faithful."""
        return _area(self.share, self.curve)

    @property
    def random_area(self) -> float:
        """The same in random order, the mean over the orders."""
        return sum(_area(self.share, one) for one in self.random) / len(self.random)


def _area(share: Sequence[float], curve: Sequence[float]) -> float:
    return float(torch.trapezoid(torch.tensor(curve), torch.tensor(share)))


def deletions(probe: Probe, made: Sequence[Attribution], seed: int) -> list[Deletion]:
    """One of each input, and of all together where there are several; the same for the same seed."""
    out = [_deletion(probe, [one], one.ground.name, seed) for one in made if one.ground.names]
    return out if len(out) < 2 else [*out, _deletion(probe, made, "all", seed)]


def _deletion(probe: Probe, made: Sequence[Attribution], name: str, seed: int) -> Deletion:
    units = [(place, unit) for place, one in enumerate(made) for unit in range(len(one.ground.names))]
    strength = torch.cat([one.units for one in made])
    chance = torch.Generator().manual_seed(seed)
    orders = [strength.argsort(descending=True, stable=True)]
    orders += [torch.randperm(len(units), generator=chance) for _ in range(RANDOM_ORDERS)]
    points = min(MOST_POINTS, len(units))
    hidden = [round(len(units) * point / points) for point in range(points + 1)]
    states = [[units[n] for n in order[:count].tolist()] for order in orders for count in hidden]
    found = _probabilities(probe, made, states)
    rows = [tuple(found[at : at + len(hidden)].tolist()) for at in range(0, len(found), len(hidden))]
    return Deletion(name, tuple(count / len(units) for count in hidden), rows[0], tuple(rows[1:]))


def _probabilities(probe: Probe, made: Sequence[Attribution], states: Sequence[Sequence[tuple[int, int]]]) -> Tensor:
    out = []
    with torch.inference_mode():
        for begin in range(0, len(states), _AT_ONCE):
            some = states[begin : begin + _AT_ONCE]
            changed = {
                one.ground.number: torch.stack(
                    [one.ground.without([unit for at, unit in state if at == place]) for state in some]
                )
                for place, one in enumerate(made)
            }
            out.append(probe(changed).cpu())
    return torch.cat(out)
