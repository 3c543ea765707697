"""Simulated junctions -> events for the feed, and moments for training; the label is what was true of the step.

The report tells calm from alarm, as people word it, and one in twelve is odd. The frame shows how full the road is, a
blue light, a crash; loops and radar measure how the arms flow. The truth is the simulation's, not the schedule's:

| label | true of a step |
|---|---|
| accident | crashed vehicles stand there |
| emergency | else an emergency vehicle drives there |
| congestion | else eleven or more vehicles halt in the camera's view |
| free_flow | else |
"""

from __future__ import annotations

import heapq
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worker.errors import ConfigError, Fatal
from worker.feeds.story import FeedEvent, one_of, times
from worker.feeds.sumo.trace import LABELS, Trace
from worker.feeds.sumo.view import frame, reading, step_of
from worker.feeds.wordings import wording_of

STREAMS = {"frames": "image", "loops": "sensor", "texts": "text"}
_TYPES = {
    "frames": ("sumo.frame.v1", "image/jpeg"),
    "loops": ("sumo.reading.v1", "application/json"),
    "texts": ("sumo.report.v1", "text/plain"),
}
FRAMES_PER_SECOND, TEXTS_PER_SECOND = 5.0, 0.2
WINDOW_SECONDS = 5  # Of readings before a report, as docs/examples/sumo.toml has it.
_ODD = 1 / 12
_LOST = "SUMO ended with {code}: {said}"


@dataclass(frozen=True, slots=True)
class Moment:
    """A report and what belongs to it: (microseconds after it, body) of the frame and of each reading."""

    text: bytes
    frame: tuple[int, bytes]
    readings: tuple[tuple[int, bytes], ...]
    label: str


def simulated(seed: Sequence[int], seconds: float) -> Trace:
    """One junction's life, by a process of its own; the same for the same seed.

    Raises:
        ConfigError: SUMO is not installed.
        Fatal: SUMO failed.
    """
    if importlib.util.find_spec("libsumo") is None:
        raise ConfigError("a simulated junction needs SUMO; install it: pip install 'fusion-worker[sumo]'")
    with tempfile.TemporaryDirectory(prefix="fusion-sumo-") as folder:
        path = Path(folder) / "trace.npz"
        command = [
            sys.executable,
            "-m",
            "worker.feeds.sumo.simulate",
            ",".join(map(str, seed)),
            str(seconds),
            str(path),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Fatal(_LOST.format(code=done.returncode, said=done.stderr.strip()[-500:]))
        return Trace.load(path)


def sumo_events(
    seed: int, junctions: int, seconds: float, frames_per_second: float, texts_per_second: float
) -> Iterator[FeedEvent]:
    """Events of all junctions (keys `junction-N`), in the order of event time; the same for the same seed. All of them
    are simulated when this returns; frames are drawn as they are asked for."""
    traces = [simulated([seed, number], seconds) for number in range(1, junctions + 1)]
    rates = {"frames": frames_per_second, "loops": 1.0, "texts": texts_per_second}
    each = (_junction(np.random.default_rng([seed, n]), n, trace, rates) for n, trace in enumerate(traces, 1))
    return heapq.merge(*each, key=lambda event: (event.time_us, event.key, event.stream, event.id))


def _junction(rng: np.random.Generator, number: int, trace: Trace, rates: dict[str, float]) -> Iterator[FeedEvent]:
    key, counts = f"junction-{number}", dict.fromkeys(STREAMS, 0)
    end_us = int(len(trace) / 5 * 1e6)
    due = [(int(at), stream) for stream in ("frames", "texts") for at in times(rng, end_us - 1000, rates[stream])]
    due += [(second * 1_000_000, "loops") for second in range(1, end_us // 1_000_000)]
    for time_us, stream in sorted(due):
        step = step_of(time_us)
        label = trace.label(step)
        if stream == "frames":
            body = frame(rng, trace, step)
        elif stream == "loops":
            body = reading(trace, time_us // 1_000_000)
        else:
            body = _report(rng, label, "test")
        counts[stream] += 1
        name = f"{key}-{stream[0]}{counts[stream]:06d}"
        yield FeedEvent(time_us, stream, key, name, *_TYPES[stream], body, label)


def moments(seed: Sequence[int], count: int, split: str) -> Iterator[Moment]:
    """Reports about one junction's life with what the rules of docs/examples/sumo.toml match to each."""
    first = WINDOW_SECONDS + 1
    rng = np.random.default_rng(seed)
    trace = simulated(seed, first + 1 + count / TEXTS_PER_SECOND)
    for number in range(count):
        at = first * 1_000_000 + int((number + rng.random()) / TEXTS_PER_SECOND * 1e6)
        label, away = trace.label(step_of(at)), int(rng.uniform(-100_000, 100_000))
        seconds = range(at // 1_000_000 - WINDOW_SECONDS + 1, at // 1_000_000 + 1)
        readings = tuple((second * 1_000_000 - at, reading(trace, second)) for second in seconds)
        shown = (away, frame(rng, trace, step_of(at + away)))
        yield Moment(_report(rng, label, split), shown, readings, label)


def _report(rng: np.random.Generator, label: str, split: str) -> bytes:
    return wording_of(rng, one_of(rng, LABELS) if rng.random() < _ODD else label, split).encode()
