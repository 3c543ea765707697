"""When a frame was taken: by the sender's clock, by the file, or by its arrival; and how sure that is.

A source's clock maps presentation times to event times. What it says is never earlier than what it said before: where
the mapping goes back (a clock that was set, a new connection), event time runs at half speed until it is caught up, and
each frame says by how much it was moved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Clock(StrEnum):
    """Values of the attribute `clock`."""

    SENDER_NTP = "sender_ntp"
    CONTAINER = "container"
    ARRIVAL = "arrival"


# RTCP's mapping is told in whole ticks of 90 kHz; a millisecond covers it, and what senders round.
_SENDER_ERROR_US = 1_000
# Until a second report confirms the first, it may be off: GStreamer's first is by a frame. A second comes within 15 s.
_FIRST_ERROR_US, _FIRST_US, _ANOTHER_US = 100_000, 15_000_000, 50
# A sender whose clock is further off than this has none: cameras without NTP begin at 1970 or at 2000.
TRUST_US = 3_600_000_000
# Packets over which the least delay is looked for: half a minute of a camera.
_WINDOW = 900


@dataclass(frozen=True, slots=True)
class Stamp:
    """An event time and what is known of it; `moved_us`: how much later than the clock said."""

    time_us: int
    clock: Clock
    error_us: int
    moved_us: int

    def attributes(self) -> dict[str, str]:
        """As CloudEvents extension attributes; the error in whole milliseconds, rounded up."""
        told = {"clock": str(self.clock), "clockerrorms": str(-(-self.error_us // 1000))}
        return told | ({"clockmovedms": str(-(-self.moved_us // 1000))} if self.moved_us else {})


class SourceClock:
    """The clock of one source, over all of its connections. Not thread-safe. All times in microseconds."""

    def __init__(self, hold_us: int, changed: Callable[[Clock, str], None]) -> None:
        """`hold_us`: how long a live source's first frames wait for the sender's clock; `changed` hears of another
        clock and why."""
        self._hold_us, self._changed = hold_us, changed
        self._now: Clock | None = None
        self._last: tuple[int, int | None] | None = None  # event time, presentation time
        self.connected()

    def connected(self, start: Stamp | None = None) -> None:
        """A new connection, or a file; `start`: when presentation time 0 of a file was, by which clock."""
        self._container = start
        self._sender: int | None = None
        self._sender_error_us, self._sender_since_us, self._distrusted = _FIRST_ERROR_US, 0, False
        self._arrivals: deque[int] = deque(maxlen=_WINDOW)
        self._since_us: int | None = None
        if self._last is not None:
            self._last = (self._last[0], None)

    def hear(self, pts_us: int, arrived_us: int, sender_us: int | None) -> None:
        """A packet has come; `sender_us`: its time by the sender's clock, where a sender report was heard."""
        self._since_us = arrived_us if self._since_us is None else self._since_us
        self._arrivals.append(arrived_us - pts_us)
        if sender_us is None:
            return
        if abs(sender_us - arrived_us) > TRUST_US:
            self._sender, self._distrusted = None, True
            return
        offset = sender_us - pts_us
        if self._sender is None:
            self._sender_error_us, self._sender_since_us = _FIRST_ERROR_US, arrived_us
        elif abs(offset - self._sender) > _ANOTHER_US:
            # Another report. Its clock was set, or drifts against the pace of its frames: these are off by as much.
            self._sender_error_us = max(_SENDER_ERROR_US, abs(offset - self._sender))
        elif self._sender_error_us == _FIRST_ERROR_US and arrived_us - self._sender_since_us > _FIRST_US:
            self._sender_error_us = _SENDER_ERROR_US
        self._sender, self._distrusted = offset, False

    def ready(self, now_us: int) -> bool:
        """Whether frames need not wait for the sender's clock any longer."""
        known = self._container is not None or self._sender is not None or self._distrusted
        return known or (self._since_us is not None and now_us - self._since_us >= self._hold_us)

    def stamp(self, pts_us: int) -> Stamp:
        """The time of a frame, later than that of any before. A packet of it must have been heard, but of a file's."""
        clock, raw_us, error_us, why = self._mapped(pts_us)
        if clock is not self._now:
            if self._now is not None:
                self._changed(clock, why)
            self._now = clock
        time_us = raw_us
        if self._last is not None:
            last_us, last_pts_us = self._last
            pace_us = max(0, pts_us - last_pts_us) // 2 if last_pts_us is not None else 0
            time_us = max(raw_us, last_us + max(1, pace_us))
        self._last = (time_us, pts_us)
        return Stamp(time_us, clock, error_us + time_us - raw_us, time_us - raw_us)

    def _mapped(self, pts_us: int) -> tuple[Clock, int, int, str]:
        if self._container is not None:
            start = self._container
            return start.clock, start.time_us + pts_us, start.error_us, "the file says when it began, or does not"
        if self._sender is not None:
            return Clock.SENDER_NTP, self._sender + pts_us, self._sender_error_us, "a sender report came"
        why = "the sender's clock is off by over an hour" if self._distrusted else "no sender report yet"
        least = min(self._arrivals)
        return Clock.ARRIVAL, pts_us + least, max(self._arrivals) - least + _SENDER_ERROR_US, why
