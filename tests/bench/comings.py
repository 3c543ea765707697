"""How long results stop when a worker joins, ends or is killed: an open loop, so that users' pauses are seen."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from tests.bench.backlog import PARTITIONS, create, expected, sender
from tests.bench.judge import Amiss, Result, amiss
from tests.bench.latency import Reader, appended, send_all
from tests.bench.openloop import longest_silence, plan
from tests.bench.race import Runner, empty, running, say, spec_of
from worker.demo.stack import Stack

RATE, MIX = 40.0, 6  # pairs a second, frames a text
WARM_SECONDS, READY_SECONDS, LAST_SECONDS = 3.0, 90.0, 30.0
# Seconds, from when every worker holds partitions.
PHASES = {"nothing happens": 8.0, "one joins": 8.0, "one ends": 10.0, "one is killed": 16.0}


@dataclass(frozen=True)
class Pauses:
    """Of one round, by what happened: the longest time in seconds without a result, of all and of one partition."""

    of_all: Mapping[str, float]
    of_one: Mapping[str, float]
    amiss: Amiss


class Crew:
    """Workers of one group; the oldest go first."""

    def __init__(self, spec: Mapping[str, Any], folder: Path, closing: contextlib.ExitStack) -> None:
        self._spec, self._folder, self._closing = spec, folder, closing
        self._begun = 0
        self.alive: list[Runner] = []

    def join(self) -> None:
        """One more."""
        self._begun += 1
        one = running("worker", {**self._spec, "number": self._begun}, self._folder)
        self.alive.append(self._closing.enter_context(one))

    def end(self) -> None:
        """SIGTERM to one."""
        self.alive.pop(0).child.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to one."""
        self.alive.pop(0).child.kill()

    def until_ready(self) -> None:
        """Waits until each holds partitions.

        Raises:
            RuntimeError: they do not.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not all(runner.ask("readyz") for runner in self.alive):
            if time.monotonic() > deadline:
                raise RuntimeError(f"not all workers got partitions: {self.alive[-1].said()}")
            time.sleep(0.2)


def comings_and_goings(stack: Stack, folder: Path) -> Pauses:
    """Two workers, then a third joins, then one is told to end, then one is killed."""
    name = f"s{uuid.uuid4().hex[:8]}"
    topics = {stream: f"{name}.{stream}" for stream in ("texts", "frames")}
    stamped = {"message.timestamp.type": "LogAppendTime"}
    create(stack.bootstrap_servers, dict.fromkeys(topics.values(), PARTITIONS), stamped)
    spec = spec_of("noop", stack, **topics)
    empty(stack)
    send, flush = sender(stack.bootstrap_servers, linger_ms=1)
    events, enough = plan(RATE, MIX, READY_SECONDS + sum(PHASES.values()), 13), threading.Event()
    with contextlib.ExitStack() as closing, ThreadPoolExecutor(1) as beside:
        crew = Crew(spec, folder, closing)
        crew.join()
        crew.join()
        crew.until_ready()
        reader = Reader(spec)
        reader.count()  # it is there
        sending = beside.submit(send_all, takewhile(lambda _: not enough.is_set(), events), send, topics)
        try:
            time.sleep(WARM_SECONDS)
            spans = through(crew)
        finally:
            enough.set()
        say(f"comings and goings: events were sent up to {max(sending.result()):.0f} ms late")
        flush()
        fed = appended(stack.bootstrap_servers, topics)
        deadline = time.monotonic() + LAST_SECONDS
        while reader.count() < sum(event.stream == "texts" for event in fed) and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(1.0)  # a second result for a text would be wrong
        seen = reader.close()
    return judged(seen, spans, amiss([result for result, _ in seen], expected(fed)))


def through(crew: Crew) -> dict[str, tuple[float, float]]:
    """Does one thing a phase; when each began and ended."""
    spans = {}
    for (phase, seconds), act in zip(PHASES.items(), (lambda: None, crew.join, crew.end, crew.kill), strict=True):
        began = time.time()
        act()
        crew.until_ready()
        time.sleep(seconds)
        spans[phase] = (began, time.time())
    return spans


def judged(seen: Sequence[tuple[Result, float]], spans: Mapping[str, tuple[float, float]], found: Amiss) -> Pauses:
    """The longest pause of each phase; results with when they were seen."""
    every = [(0, at) for _, at in seen]
    apart = [(int(result.text.rsplit("/", 2)[1]), at) for result, at in seen]
    of_all, of_one = (
        {phase: longest_silence(results, *span) for phase, span in spans.items()} for results in (every, apart)
    )
    return Pauses(of_all, of_one, found)
