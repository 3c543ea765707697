"""Load up and down, and workers by the chart's own rule: `python -m tests.chaos.scaling`.

Real workers, each of which can do so many texts a second; live events at a low rate, a high one, and the low one again.
Each turn the two metrics of all workers go through the rule of the rendered ScaledObject, whose times are ten times
shorter, and workers are started, or told to end, until there are as many as it says. Then what was committed is held
against what was fed.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.chaos.checker import Findings, findings
from tests.chaos.ground import Ground, ground
from tests.deploy.helm import documents, rendered
from tests.deploy.objects import of_kind
from tests.deploy.rule import Autoscaler, Rule, Told
from tests.story import Fed
from tests.town import Town, Worker, town
from tests.unit.incoming import JPEG

TIMES_QUICKER = 10.0
KEYS, PARTITIONS, MOST = 12, 4, 3
BATCH, BATCH_SECONDS = 8, 0.2  # a worker's most is 40 texts a second
LOW, HIGH = 8.0, 90.0  # texts a second
LOW_SECONDS, HIGH_SECONDS, LAST_SECONDS = 10.0, 45.0, 150.0
TICK_SECONDS = 0.25
# The wait ends by an event alone: what is matched then depends on the events, whatever comes and goes.
PATIENT = {"frames": {"max_wait": "5m", "horizon": "5m"}}


def chart_rule() -> Rule:
    """The chart's, quicker, for three workers at most."""
    (scaled,) = of_kind(documents(rendered("keda")), "ScaledObject")
    return replace(Rule.of(scaled), most=MOST).quicker(TIMES_QUICKER)


@dataclass
class Course:
    """What happened: the number of workers by when it became so, and when each partition's results were seen."""

    events: list[Fed] = field(default_factory=list)
    numbers: list[tuple[float, int]] = field(default_factory=list)
    seen: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    codes: list[int] = field(default_factory=list)

    @property
    def steps(self) -> list[int]:
        """The numbers in their order."""
        return [number for _, number in self.numbers]

    def longest_pause(self) -> float:
        """Seconds without a result of one partition that is fed all the time."""
        return max(later - earlier for at in self.seen.values() for earlier, later in itertools.pairwise(at))


class Run:
    """One town whose workers come and go."""

    def __init__(self, made: Town) -> None:
        self.made, self.course, self.scaler = made, Course(), Autoscaler(chart_rule(), 1)
        self._leaving: list[Worker] = []
        self._read, self._number, self._looked = 0, 0, 0.0

    def go(self, rate: float, seconds: float, until: int | None = None) -> None:
        """Feeds at this rate for so long, or until there are so many workers; looks as often as the rule says."""
        began, fed = time.monotonic(), 0
        while (now := time.monotonic()) < began + seconds and (until is None or len(self.made.workers) != until):
            due = int((now - began) * rate)
            self._feed(due - fed)
            fed = due
            self.made.read(TICK_SECONDS)
            self._note()
            if now - self._looked >= self.scaler.rule.polling_seconds:
                self._looked = now
                self._scale(now)

    def _feed(self, texts: int) -> None:
        at, events = time.time_ns() // 1000, []
        for _ in range(texts):
            key, self._number = f"key-{self._number % KEYS}", self._number + 1
            at += 100
            events.append(Fed(at, "texts", key, f"t{self._number}", f"report {self._number}".encode()))
            events.append(Fed(at + 20_000, "frames", key, f"f{self._number}", JPEG))
        self.made.feed(events)
        self.course.events += events

    def _note(self) -> None:
        at = time.monotonic()
        for result in self.made.results[self._read :]:
            self.course.seen[result["inputs"]["texts"]["partition"]].append(at)
        self._read = len(self.made.results)

    def _scale(self, now: float) -> None:
        pages = {str(pid): Told.by(page) for pid, page in self.made.ask("metrics").items()}
        wanted = self.scaler.look(now, {name: told for name, told in pages.items() if told is not None})
        workers = self.made.workers
        if wanted != len(workers):
            self.course.numbers.append((now, wanted))
        self.made.start(max(0, wanted - len(workers)))
        while len(workers) > wanted:
            leaving = workers.pop()
            leaving.send_signal(signal.SIGTERM)
            self._leaving.append(leaving)

    def end(self) -> None:
        """Waits for every outcome; then ends the workers."""
        texts = len(self.course.events) // 2
        self.made.read_until(lambda: len(self.made.results) >= texts, LAST_SECONDS)
        self.course.codes = [one.wait(30) for one in self._leaving] + self.made.stop()
        self.made.read(1.0)


def up_and_down(stand: Ground, folder: Path) -> tuple[Course, Findings]:
    """The whole of it; with what may not be (see `checker.findings`)."""
    settings: dict[str, Any] = {"model": {"max_batch": BATCH}, "streams": PATIENT, "nursery": stand.nursery}
    with town(stand, folder, {"texts": PARTITIONS, "frames": PARTITIONS}, **settings) as made:
        made.cost_ms = BATCH_SECONDS * 1000
        made.start()
        made.read_until(lambda: bool(made.ports()) and all(said == "ready\n" for said in made.ask("readyz").values()))
        run = Run(made)
        run.course.numbers.append((time.monotonic(), 1))
        run.go(LOW, LOW_SECONDS)
        run.go(HIGH, HIGH_SECONDS)
        run.go(LOW, LAST_SECONDS, until=1)
        run.go(LOW, LOW_SECONDS / 2)
        run.end()
        return run.course, findings(run.course.events, made)


def say(course: Course, found: Findings) -> str:
    """The figures in two lines."""
    began = course.numbers[0][0]
    steps = ", ".join(f"{number} from {at - began:.0f} s" for at, number in course.numbers)
    return (
        f"workers: {steps}; ended with {course.codes}\n{len(course.events) // 2} texts: {found}; "
        f"longest time without a result of one partition {course.longest_pause():.1f} s"
    )


def main() -> int:
    """Runs it."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="fusion-scaling-") as name, ground(Path(name)) as stand:
        course, found = up_and_down(stand, Path(name))
        print(say(course, found))
        return 1 if found or set(course.codes) != {0} or MOST not in course.steps or course.steps[-1] != 1 else 0


if __name__ == "__main__":
    sys.exit(main())
