"""How a sensor's readings may be spoiled on their way, by the means and spreads that the model was trained with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from worker.model.config import FusionConfig
from worker.model.preprocess import Body
from worker.readings import fields_of

_SPIKE = 10.0  # Standard deviations.
Bodies = Sequence[Body]
# The value, how far on in the series it is (0: the oldest, 1: the newest), and the mean and deviation of its field.
Change = Callable[[float, float, float, float], float | None]


class Spreads:
    """Mean and standard deviation of each number of a model's sensors."""

    def __init__(self, config: FusionConfig) -> None:
        words, owners = config.channel_words, config.channel_inputs
        self._own: dict[tuple[str | None, str], tuple[float, float]] = {}
        for n, field in enumerate(config.channels):
            if words is None or words[n] is None:
                told = (config.channel_mean[n], config.channel_std[n])
                self._own[owners[n] if owners else None, field] = told
                self._own.setdefault((None, field), told)

    def of(self, stream: str, field: str) -> tuple[float, float] | None:
        """Those of a stream's field; None: the model looks at no number of it."""
        return self._own.get((stream, field)) or self._own.get((None, field))


def noisy(bodies: Bodies, deviations: float, spreads: Spreads, rng: np.random.Generator) -> tuple[Body, ...]:
    """Each number with noise of so many standard deviations of its field."""
    return _changed(bodies, spreads, lambda name: lambda x, at, mean, std: x + deviations * std * rng.standard_normal())


def offset(bodies: Bodies, deviations: float, spreads: Spreads, rng: np.random.Generator) -> tuple[Body, ...]:
    """Each field up or down by so many standard deviations."""
    signs = _Drawn(lambda: float(rng.choice((-1.0, 1.0))))
    return _changed(bodies, spreads, lambda name: lambda x, at, mean, std: x + signs[name] * deviations * std)


def drifting(bodies: Bodies, deviations: float, spreads: Spreads, rng: np.random.Generator) -> tuple[Body, ...]:
    """Each field away from what is true, from nothing at the oldest step to so many standard deviations now."""
    signs = _Drawn(lambda: float(rng.choice((-1.0, 1.0))))
    return _changed(bodies, spreads, lambda name: lambda x, at, mean, std: x + signs[name] * deviations * std * at)


def stuck(bodies: Bodies, share: float, spreads: Spreads, rng: np.random.Generator) -> tuple[Body, ...]:
    """About this share of the fields at one value, such as they have at some time."""
    drawn = _Drawn(lambda: (rng.random() < share, float(rng.standard_normal())))

    def of(name: str) -> Change:
        is_stuck, where = drawn[name]
        return lambda x, at, mean, std: mean + std * where if is_stuck else x

    return _changed(bodies, spreads, of)


def with_spikes(bodies: Bodies, share: float, spreads: Spreads, rng: np.random.Generator) -> tuple[Body, ...]:
    """About this share of the numbers ten standard deviations away."""

    def spike(x: float, at: float, mean: float, std: float) -> float:
        chance, sign = rng.random(), rng.choice((-1.0, 1.0))
        return float(mean + sign * _SPIKE * std) if chance < share else x

    return _changed(bodies, spreads, lambda name: spike)


def in_other_units(bodies: Bodies, factor: float, spreads: Spreads, rng: np.random.Generator) -> tuple[Body, ...]:
    """One of the fields times a factor, as after a slip of units."""
    names = sorted({name for body in bodies for name in _values(body) if spreads.of(body.stream, name) is not None})
    slipped = names[int(rng.integers(len(names)))] if names else None
    return _changed(bodies, spreads, lambda name: lambda x, at, mean, std: x * factor if name == slipped else x)


def with_steps_lost(bodies: Bodies, share: float, rng: np.random.Generator) -> tuple[Body, ...]:
    """Without about this share of the readings, or of a lone one without such a share of its steps; never all."""
    chance = rng.random(len(bodies))
    if len(bodies) > 1:
        kept = (chance >= share) | (chance == chance.max())
        return tuple(body for body, stays in zip(bodies, kept, strict=True) if stays)
    return tuple(_steps_lost(body, share, rng) for body in bodies)


def _steps_lost(body: Body, share: float, rng: np.random.Generator) -> Body:
    reading, values = _read(body)
    length = max((len(one) for one in values.values() if isinstance(one, list)), default=0)
    chance = rng.random(length)
    lost = (chance < share) & (chance < chance.max(initial=0.0))
    for name, one in values.items():
        if isinstance(one, list):
            # Of series that differ in length the last steps belong together.
            own = lost[length - len(one) :]
            values[name] = [None if gone else value for value, gone in zip(one, own, strict=True)]
    return body._replace(payload=json.dumps(reading).encode())


def by_another_clock(bodies: Bodies, seconds: float) -> tuple[Body, ...]:
    """As if measured so much later."""
    return tuple(body._replace(seconds=body.seconds + seconds) for body in bodies)


class _Drawn(dict[str, Any]):
    """Draws once for each name."""

    def __init__(self, draw: Callable[[], Any]) -> None:
        super().__init__()
        self._draw = draw

    def __missing__(self, name: str) -> Any:
        self[name] = self._draw()
        return self[name]


def _changed(bodies: Bodies, spreads: Spreads, of: Callable[[str], Change]) -> tuple[Body, ...]:
    """The readings with each number that the model looks at changed, fields by name, then oldest first."""
    read = [_read(body) for body in bodies]
    for name in sorted({name for _, values in read for name in values}):
        own = [(values, spreads.of(body.stream, name)) for body, (_, values) in zip(bodies, read, strict=True)]
        told = [(values, spread) for values, spread in own if spread is not None and name in values]
        if not told:
            continue
        total = sum(len(one) if isinstance(one := values[name], list) else 1 for values, _ in told)
        change, step = of(name), 0
        for values, spread in told:
            given = values[name] if isinstance(values[name], list) else [values[name]]
            made: list[Any] = []
            for value in given:
                made.append(_one(value, step / (total - 1) if total > 1 else 1.0, spread, change))
                step += 1
            values[name] = made if isinstance(values[name], list) else made[0]
    return tuple(
        body._replace(payload=json.dumps(reading).encode()) for body, (reading, _) in zip(bodies, read, strict=True)
    )


def _one(value: Any, at: float, spread: tuple[float, float], change: Change) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return change(value, at, *spread) if is_number else value


def _values(body: Body) -> Mapping[str, Any]:
    return _read(body)[1]


def _read(body: Body) -> tuple[dict[str, Any], dict[str, Any]]:
    """A reading, and the object in it that has the fields."""
    reading: dict[str, Any] = json.loads(body.payload)
    return reading, fields_of(reading)
