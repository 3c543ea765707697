"""A signal, or the beginning of the end -> the process's end in bounded time, whatever a library does."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import NoReturn

from worker.errors import Fatal
from worker.ports import Log

# Closing takes milliseconds while the servers answer. A member that does not leave its group, a producer that does not
# end and a slot that is not given back are found by their timeouts, so that more than this buys nothing.
CLOSING_SECONDS = 4.0
# A log that nobody reads (a full pipe) must not hold the end either.
TELLING_SECONDS = 1.0


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def on_stop(act: Callable[[], object]) -> None:
    """From now on these signals call it; to be said in the main thread."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: act())


def leave_start() -> NoReturn:
    """For `on_stop`, while a process still starts: nothing was read, so nothing is left to drain."""
    raise SystemExit(0)


class Watchdog:
    """Ends the process by force once its time is over; told in one line.

    Guarantees: after one of the signals the process lives for at most `drain_seconds` + CLOSING_SECONDS +
    TELLING_SECONDS, and after the loop for at most the last two. Python's own handlers run in the main thread between
    two of its steps, so never while a library keeps it; the number of a signal comes here by a pipe instead. What no
    thread outlives is a library that holds the interpreter's lock: /livez does not answer then.
    """

    def __init__(self, signals: Iterable[signal.Signals], drain_seconds: float, log: Log) -> None:
        """From now on the first of these signals starts the clock; to be made in the main thread."""
        self._drain_seconds, self._log = drain_seconds, log
        self._code, self._cause = 1, "the worker was starting"
        self.left: Callable[[], str] = lambda: "nothing was read"
        wanted = frozenset(signals)
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=self._hear, args=(reading, wanted), name="watchdog", daemon=True).start()

    def _hear(self, reading: int, wanted: frozenset[int]) -> None:
        while wanted.isdisjoint(os.read(reading, 64)):
            pass
        self._start(
            self._drain_seconds + CLOSING_SECONDS, f"it was told to stop {self._drain_seconds:g} s and more ago"
        )

    def closes_after(self, loop: Callable[[], bool]) -> bool:
        """What the loop gives: whether all was done. From its end on the time runs that closing may take."""
        try:
            done = loop()
        except BaseException as error:
            self._code = error.exit_code if isinstance(error, Fatal) else 1
            self._start(CLOSING_SECONDS, f"closing did not end; {type(error).__name__}: {error}")
            raise
        self._code = 0 if done else 1
        self._start(CLOSING_SECONDS, "closing did not end")
        return done

    def _start(self, seconds: float, cause: str) -> None:
        timer = threading.Timer(seconds, self._expired, [cause])
        timer.daemon = True
        timer.start()

    def _expired(self, cause: str) -> None:
        telling = threading.Thread(target=self._tell, args=(cause,), daemon=True)
        telling.start()
        telling.join(TELLING_SECONDS)
        os._exit(self._code)

    def _tell(self, cause: str) -> None:
        self._log.error("ended by force", cause=cause, left=self.left(), exit_code=self._code)


def end_now(code: int) -> NoReturn:
    """Ends the process without waiting for its threads: the interpreter's own end would wait for a decoder that hangs,
    crash with another code where a model's thread still runs, and free the model's libraries, which takes a processor
    1.5 s while no watchdog can run any more."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
