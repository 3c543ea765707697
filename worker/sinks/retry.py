"""Tries that failed -> when the next one is due."""

from __future__ import annotations

from random import Random

FIRST_SECONDS = 0.5


class Backoff:
    """Doubles from half a second to a limit, and takes between half of it and all: many that failed together do not
    come back together."""

    def __init__(self, limit_seconds: float, random: Random) -> None:
        self._limit, self._random, self._tries = limit_seconds, random, 0

    @property
    def tries(self) -> int:
        """How many failed in a row."""
        return self._tries

    def failed(self, least_seconds: float = 0.0) -> float:
        """Seconds until the next try: at least as long as the destination asked for, and never over an hour."""
        self._tries += 1
        whole = min(self._limit, FIRST_SECONDS * 2.0 ** min(self._tries - 1, 20))
        return float(max(min(least_seconds, 3600.0), whole * self._random.uniform(0.5, 1.0)))

    def worked(self) -> None:
        """Begins anew."""
        self._tries = 0
