"""Outcomes that are finished -> when their transaction begins: at once at rest, with others under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from worker.records import Record

# So much later than without others a result may be, as a part of how old its anchor is already: where results come at
# once it is milliseconds, in a backlog the whole interval.
LATER = 0.1


class Pace:
    """When transactions begin. `gather` belongs to one thread, the rest to any."""

    def __init__(self, now_us: Callable[[], int] = lambda: 0, most_seconds: float = 0.0) -> None:
        """From one transaction's begin to the next's at most `most_seconds` pass; `now_us`: the wall clock."""
        self._now_us, self._most = now_us, most_seconds
        self._began = float("-inf")
        self._hurry = threading.Event()

    def gather(self, first: Record | None, enough: bool) -> None:
        """Returns when the next transaction begins; `first`: the record whose outcome has waited for longest."""
        left = 0.0 if first is None or enough else self._began + self.interval(first) - time.monotonic()
        if left > 0:
            self._hurry.wait(left)
        self._hurry.clear()
        self._began = time.monotonic()

    def interval(self, first: Record) -> float:
        """Seconds from the last transaction's begin that this record's outcome waits for others."""
        if first.timestamp_ms < 0:
            return self._most
        return min(self._most, max(0.0, self._now_us() / 1e6 - first.timestamp_ms / 1e3) * LATER)

    def hurry(self) -> None:
        """There is enough for a transaction."""
        self._hurry.set()

    def stop(self) -> None:
        """From now on nothing waits for others."""
        self._most = 0.0
        self._hurry.set()
