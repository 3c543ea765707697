"""Time, health, log lines and metrics."""

from __future__ import annotations

from typing import Any, Protocol


class Clock(Protocol):
    """Wall time, passed in."""

    def now_us(self) -> int:
        """Wall clock, microseconds since 1970 UTC; for `max_ahead` and latencies only."""


class Health(Protocol):
    """Hears whether the loop turns and what keeps the worker from being ready."""

    def beat(self) -> None:
        """The loop has turned once more."""

    def block(self, name: str, reason: str) -> None:
        """Not ready, for this reason, until `clear(name)`."""

    def clear(self, name: str) -> None:
        """This reason is gone."""


class Log(Protocol):
    """Structured log lines."""

    def info(self, event: str, **fields: Any) -> Any:
        """Something an operator may want to know."""

    def warning(self, event: str, **fields: Any) -> Any:
        """Something an operator should look at."""

    def error(self, event: str, **fields: Any) -> Any:
        """Something that stops the worker."""


class Observer(Protocol):
    """Hears what happens; only ops/ turns it into metrics. Names and labels are those of CONTRACT section 9."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Adds to a counter."""

    def observe(self, name: str, value: float, /, *, trace: str | None = None, **labels: str) -> None:
        """Adds one value to a histogram; `trace`: the id of the trace that tells more of it."""

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Sets a gauge."""
