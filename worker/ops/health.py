"""Tells progress from mere life: the loop's beats, and the reasons why the worker is not ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

# Seconds without a turn of the loop; a worker's own come from its configuration, by `stall_seconds`.
STALL_SECONDS = 60.0

# Seconds until the first turn. Loading a model from a cold disk takes tens of seconds; a start of five minutes hangs.
STARTUP_SECONDS = 300.0


def stall_seconds(max_poll_interval: timedelta, commit_timeout: timedelta) -> float:
    """How long the loop may stand before /livez says so.

    A turn in which partitions are revoked waits for the transaction under way, whose steps (a producer, the
    transaction, its abort) take up to `commit_timeout` each while Kafka is away. Before `max_poll_interval` the group
    itself still counts on the worker; past both, its partitions are others' and a restart costs nothing more.
    """
    return max(4 * commit_timeout, max_poll_interval).total_seconds()


class Health:
    """What `/livez` and `/readyz` answer. Safe to call from any thread.

    Guarantees: `stalled()` is not None once no beat came for `stall_seconds` (before the first beat: `startup_seconds`
    since construction); `reasons()` names every block not yet cleared, and the stall.
    """

    def __init__(
        self,
        stall_seconds: float = STALL_SECONDS,
        startup_seconds: float = STARTUP_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`monotonic` gives seconds that never go back."""
        self._stall_seconds, self._startup_seconds, self._monotonic = stall_seconds, startup_seconds, monotonic
        self._lock = threading.Lock()
        self._beaten = False
        self._last = monotonic()
        self._blocks: dict[str, str] = {}

    def beat(self) -> None:
        """The loop has turned once more."""
        with self._lock:
            self._beaten, self._last = True, self._monotonic()

    def block(self, name: str, reason: str) -> None:
        """Not ready, for this reason, until `clear(name)`; the same name again replaces the reason."""
        with self._lock:
            self._blocks[name] = reason

    def clear(self, name: str) -> None:
        """This reason is gone; clearing one that was never given is fine."""
        with self._lock:
            self._blocks.pop(name, None)

    def stalled(self) -> str | None:
        """Why the process counts as dead, or None while it makes progress."""
        with self._lock:
            silent_seconds = self._monotonic() - self._last
            limit_seconds = self._stall_seconds if self._beaten else self._startup_seconds
            what = "the loop has not turned" if self._beaten else "the loop has not begun to turn"
        if silent_seconds <= limit_seconds:
            return None
        return f"{what} for {silent_seconds:.0f} s (limit {limit_seconds:.0f} s)"

    def reasons(self) -> tuple[str, ...]:
        """`name: reason` of everything that keeps the worker from being ready, in order of arrival; empty: ready."""
        stalled = self.stalled()
        with self._lock:
            blocks = tuple(f"{name}: {reason}" for name, reason in self._blocks.items())
        return blocks if stalled is None else (*blocks, f"stalled: {stalled}")
