"""A worker's registry -> Totals, and two of these -> what happened in between."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

PREFIX = "fusion_"
_Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Totals:
    """Every sample of a registry at one moment.

    Attributes:
        at: seconds that never go back.
        samples: by name, without the prefix of our own, and then by labels.
    """

    at: float
    samples: Mapping[str, Mapping[_Labels, float]] = field(repr=False)

    @classmethod
    def of(cls, families: Iterable[Any], at: float) -> Totals:
        """What a registry's `collect` gives."""
        samples: defaultdict[str, dict[_Labels, float]] = defaultdict(dict)
        for family in families:
            for one in family.samples:
                samples[one.name.removeprefix(PREFIX)][frozenset(one.labels.items())] = one.value
        return cls(at, samples)

    def found(self, name: str, **labels: str) -> Iterator[tuple[dict[str, str], float]]:
        """The labels and values of the samples that have at least these labels."""
        wanted = labels.items()
        for own, value in self.samples.get(name, {}).items():
            if wanted <= own and not math.isnan(value):
                yield dict(own), value

    def sum(self, name: str, **labels: str) -> float:
        """Of all these; 0 where there is none."""
        return sum(value for _, value in self.found(name, **labels))


@dataclass(frozen=True, slots=True)
class Between:
    """What two Totals of one registry tell of the time between them."""

    first: Totals
    last: Totals

    @property
    def seconds(self) -> float:
        """How long that was."""
        return self.last.at - self.first.at

    def grown(self, name: str, **labels: str) -> float:
        """By how much a counter rose."""
        return self.last.sum(name, **labels) - self.first.sum(name, **labels)

    def rate(self, name: str, **labels: str) -> float | None:
        """By how much it rose a second; None: no time has passed."""
        return self.grown(name, **labels) / self.seconds if self.seconds > 0 else None

    def quantile(self, share: float, name: str, **labels: str) -> float | None:
        """Of a histogram's values that came in between, as Prometheus reckons it; None: none came."""
        counts: defaultdict[float, float] = defaultdict(float)
        for totals, sign in ((self.last, 1), (self.first, -1)):
            for own, value in totals.found(name + "_bucket", **labels):
                counts[float(own["le"])] += sign * value
        bounds = sorted(counts)
        if not bounds or counts[bounds[-1]] <= 0:
            return None
        wanted, below, low = share * counts[bounds[-1]], 0.0, min(0.0, bounds[0])
        for bound in bounds:
            if counts[bound] >= wanted and counts[bound] > below:
                part = (wanted - below) / (counts[bound] - below)
                return low if math.isinf(bound) else low + (bound - low) * part
            below, low = counts[bound], bound
        return None
