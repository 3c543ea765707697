"""How long what nobody touches stays in Redis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from worker.records import MatchRule

LEAST_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Times to live in milliseconds.

    Attributes:
        data_ms: of an entity, counted from its last event, question or claim.
    """

    data_ms: int

    @classmethod
    def of(cls, rules: Iterable[MatchRule]) -> Lifetime:
        """Twenty horizons of the longest stream, at least an hour."""
        longest_us = max((rule.horizon_us for rule in rules), default=0)
        return cls(max(LEAST_MS, longest_us // 50))
