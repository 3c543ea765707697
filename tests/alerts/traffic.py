"""Ordinary traffic of a town whose workers are watched."""

from __future__ import annotations

import itertools
import time

from tests.alerts.watch import Watch
from tests.story import Fed, frame
from tests.town import Town

KEYS = ("junction-1", "junction-2", "junction-3", "junction-4")


class Traffic:
    """A call is a moment of ordinary traffic: of every key a frame and a text of now."""

    def __init__(self, made: Town, texts: int = 1, frames: int = 1) -> None:
        """`texts`, `frames`: of each key and moment."""
        self._made, self._texts, self._frames, self._numbers = made, texts, frames, itertools.count()

    def __call__(self) -> None:
        now_us, number = time.time_ns() // 1000, next(self._numbers)
        events = []
        for key in KEYS:
            for n in range(self._frames):
                events.append(Fed(now_us - n * 1000, "frames", key, name := f"{key}-f{number}-{n}", frame(name)))
            for n in range(self._texts):
                events.append(Fed(now_us - n, "texts", key, f"{key}-t{number}-{n}", f"report {key} {number}".encode()))
        self._made.feed(sorted(events))


def begin(watch: Watch, workers: int = 1, results: int = 20) -> Traffic:
    """Workers that have shown that all is well."""
    watch.made.start(workers)
    watch.sees(workers)
    traffic = Traffic(watch.made)
    watch.until(lambda: len(watch.made.results) >= results, "results", traffic)
    return traffic
