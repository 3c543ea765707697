"""What is told to those who look, once a second for all of them together; nothing is done while nobody does."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from worker.console import state
from worker.console.seen import LastSeen
from worker.console.state import StreamOf
from worker.console.totals import Between, Totals
from worker.console.verdicts import Teller
from worker.redaction import without_secrets

EVERY_SECONDS = 1.0
# Rates and quantiles are of so many seconds; older looks are forgotten.
WINDOW_SECONDS = 10.0
# Each holds a thread and a connection.
MOST_WATCHERS = 8


class Live:
    """Server-sent events for up to MOST_WATCHERS. Safe to call from any thread."""

    def __init__(
        self,
        collect: Callable[[], Any],
        reasons: Callable[[], Sequence[str]],
        last: LastSeen,
        teller: Teller,
        streams: Sequence[StreamOf],
        about: Mapping[str, Any],
    ) -> None:
        """`collect` gives a registry's families, `reasons` why the worker is not ready, `about` says who it is."""
        self._collect, self._reasons, self._about = collect, reasons, about
        self._last, self._teller, self._streams = last, teller, list(streams)
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._looks: deque[Totals] = deque()
        self._state = b""
        self._watchers = 0

    @property
    def is_full(self) -> bool:
        """Whether as many look as may."""
        return self._watchers >= MOST_WATCHERS

    def events(self) -> Iterator[bytes]:
        """A state a second, and each verdict once; ends with `close`, or when as many look already."""
        with self._lock:
            if self.is_full:
                return
            self._watchers += 1
        try:
            told = 0
            yield b"retry: 2000\n\n"
            while not self._closed.is_set():
                state, verdicts = self._now(told)
                told = max([told, *(one["number"] for one in verdicts)])
                yield _event("state", state) + (_event("verdicts", _json(verdicts)) if verdicts else b"")
                self._closed.wait(EVERY_SECONDS)
        finally:
            with self._lock:
                self._watchers -= 1

    def close(self) -> None:
        """Ends all watchers."""
        self._closed.set()

    def _now(self, told: int) -> tuple[bytes, list[dict[str, Any]]]:
        """The state, at most a second old, and the verdicts after number `told`."""
        with self._lock:
            now = time.monotonic()
            if not self._looks or now - self._looks[-1].at >= 0.9 * EVERY_SECONDS:
                self._look(now)
            return self._state, [self._teller.told(one) for one in self._last.now() if one.number > told]

    def _look(self, now: float) -> None:
        if self._looks and now - self._looks[-1].at > WINDOW_SECONDS:
            self._looks.clear()
        self._looks.append(Totals.of(self._collect(), now))
        while now - self._looks[0].at > WINDOW_SECONDS:
            self._looks.popleft()
        seen, reasons = Between(self._looks[0], self._looks[-1]), list(self._reasons())
        told = {
            "about": {**self._about, "model": state.model(self._looks[-1])},
            "reasons": [without_secrets(one) for one in reasons],
            "figures": state.figures(seen),
            "streams": state.streams(seen, self._streams),
            "steps": [] if self._last.now() else state.first_steps(seen, self._streams, reasons),
        }
        self._state = _json(told)


def _json(told: Any) -> bytes:
    return json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def _event(name: str, data: bytes) -> bytes:
    """JSON has no line ends of its own."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
