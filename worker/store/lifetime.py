"""How long what nobody touches stays in Redis, and when the epoch that vouches for it is prolonged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from worker.records import MatchRule

# A worker's loop may stand, or a pool be exchanged, for so long without a rebuild; more keeps what was used once.
LEAST_EPOCH_MS = 120_000
# Anchors of a live stream pass everything that was indexed before within about two spans of what is kept.
SPANS = 5
# What is indexed now is told to the others at the next exchange; far less would do.
MARGIN_MS = 30_000


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Times to live in milliseconds.

    Attributes:
        epoch_ms: of the epoch, counted from when it was last prolonged.
        data_ms: of an entity, counted from its last event, question or claim: longer than twice the epoch's, so that
            the epoch ends before anything that may still be needed (docs/decisions/0016).
    """

    epoch_ms: int
    data_ms: int

    @classmethod
    def of(cls, rules: Iterable[MatchRule]) -> Lifetime:
        """By the stream that keeps the most event time."""
        longest_us = max((rule.kept_us for rule in rules), default=0)
        epoch_ms = max(LEAST_EPOCH_MS, SPANS * longest_us // 1000)
        return cls(epoch_ms, 2 * epoch_ms + MARGIN_MS)


class Upkeep:
    """Says when an epoch may be prolonged: when all that may still be needed was touched less than its life ago.

    That is so (a) when anchors have passed all that had been indexed when it was prolonged last, since what is needed
    now was touched after that; or (b) when every entity was touched on purpose, in one pass over the keys.
    """

    def __init__(self, epoch_ms: int) -> None:
        self._life_us = epoch_ms * 1000
        self._since_us: int | None = None
        self._top_us = -1

    def passed(self, now_us: int, needed_us: int | None, top_us: int) -> bool:
        """(a). `now_us` is of one server's clock; `top_us`: the highest event time that any worker has indexed."""
        if self._since_us is None or now_us - self._since_us > self._life_us:
            self._since_us, self._top_us = now_us, top_us
        elif needed_us is not None and needed_us > self._top_us:
            self._since_us, self._top_us = now_us, top_us
            return True
        return False

    def is_slow(self, now_us: int) -> bool:
        """True when half of the epoch's life went by without (a)."""
        return self._since_us is not None and now_us - self._since_us > self._life_us // 2

    def touched(self, began_us: int, top_us: int) -> None:
        """(b). A pass that began then has touched everything."""
        self._since_us, self._top_us = began_us, top_us
