"""The match as one would write it by hand: frames per key in memory, events of a key in their order."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

WITHIN_MS = 500


class Came(NamedTuple):
    """An event as a contender read it."""

    time_ms: int
    id: str
    body: bytes


Pair = tuple[Came, Came | None]


class Nearest:
    """Texts and frames of one key -> each text with the nearest frame, once a frame has come that is late enough."""

    def __init__(self) -> None:
        self._frames: deque[Came] = deque()
        self._texts: deque[Came] = deque()
        self._last_ms = 0

    def text(self, came: Came) -> Iterator[Pair]:
        """Takes a text; gives what is decided."""
        self._texts.append(came)
        return self._decided()

    def frame(self, came: Came) -> Iterator[Pair]:
        """Takes a frame; gives what is decided, and lets go of frames that no text can want."""
        self._frames.append(came)
        self._last_ms = came.time_ms
        yield from self._decided()
        if self._texts:
            self._let_go(self._texts[0].time_ms)

    def _decided(self) -> Iterator[Pair]:
        while self._texts and self._last_ms >= self._texts[0].time_ms + WITHIN_MS:
            text = self._texts.popleft()
            self._let_go(text.time_ms)
            near = [
                (abs(frame.time_ms - text.time_ms), frame.time_ms, frame.id, frame)
                for frame in self._frames
                if frame.time_ms <= text.time_ms + WITHIN_MS
            ]
            yield text, min(near)[3] if near else None

    def _let_go(self, text_ms: int) -> None:
        while self._frames and self._frames[0].time_ms < text_ms - WITHIN_MS:
            self._frames.popleft()


def result(text: Came, frame: Came | None, verdict: Any) -> bytes:
    """What a contender writes: the part of the worker's own result that the bench reads."""
    inputs = {"texts": {"id": text.id}, **({"frames": {"id": frame.id}} if frame else {})}
    return json.dumps({"label": verdict.label, "score": verdict.score, "inputs": inputs}).encode()
