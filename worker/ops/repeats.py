"""Warnings -> the same, each at most once in a while; how many were left out is told."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import structlog

# A dashboard shows within this time that something goes on; more often would fill a disk when a server is away.
REPEAT_SECONDS = 10.0
# Sentences that are remembered; names from outside must not fill memory.
MOST_SENTENCES = 1024
_LIMITED = ("warning", "error", "critical")
_NUMBER = re.compile(r"\d+")


@dataclass(slots=True)
class _Written:
    at: float
    event: str
    left_out: int = 0


class Repeats:
    """A structlog processor. A warning or error whose sentence was written less than `seconds` ago is left out.

    Two are the same when they differ in numbers alone, in the event, its reason and what is no text at all. The next
    line of any kind, once the time is over, brings the number of those left out; so does the next of its like.
    """

    def __init__(self, tell: Callable[[str, int], None], seconds: float = REPEAT_SECONDS,
                 monotonic: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
        """`tell` is called with an event and how often it was left out."""
        self._tell, self._seconds, self._monotonic = tell, seconds, monotonic
        self._written: dict[tuple[str, ...], _Written] = {}
        self._lock = threading.Lock()

    def __call__(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Passes the line on.

        Raises:
            structlog.DropEvent: it is left out, and counted.
        """
        now = self._monotonic()
        sentence = _sentence(event)
        with self._lock:
            last = self._written.get(sentence) if event.get("level", method) in _LIMITED else None
            if last is not None and now - last.at < self._seconds:
                last.left_out += 1
                raise structlog.DropEvent
            if last is not None:
                del self._written[sentence]
                if last.left_out:
                    event["left_out"] = last.left_out
            over = self._over(now)
            if event.get("level", method) in _LIMITED:
                self._written[sentence] = _Written(now, str(event.get("event", "")))
        for one in over:
            self._tell(one.event, one.left_out)
        return event

    def _over(self, now: float) -> list[_Written]:
        """Forgets those whose time is over, and the oldest of too many; gives those of which some were left out."""
        gone = []
        for sentence, written in list(self._written.items()):
            if now - written.at < self._seconds and len(self._written) < MOST_SENTENCES:
                break
            gone.append(self._written.pop(sentence))
        return [written for written in gone if written.left_out]


def _sentence(event: MutableMapping[str, Any]) -> tuple[str, ...]:
    words = []
    for name in sorted(event):
        value = event[name]
        if name in ("event", "reason"):
            words.append(_NUMBER.sub("#", str(value)))
        elif name != "time" and isinstance(value, str | list | tuple):
            words.append(f"{name}={value}")
    return tuple(words)
