"""What anchors that wait cost the loop: `python -m tests.bench.waiting` (one worker, 10 or 10,000 waiting, in turn).

Waiting anchors are of keys whose camera stays silent. Beside them one key lives: its text comes with the frames that
decide it, and the time to its result is the time of a few turns of the loop.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.measure import processor_seconds, tree
from tests.story import Fed
from tests.town import Town, town
from tests.unit.incoming import JPEG
from worker.demo.stack import Stack, open_stack

KEYS = 500
PROBES = 200
LONGEST_WAIT = "1h"


def probe(made: Town, number: int, at_us: int) -> float:
    """Milliseconds from a text and its two frames to the text's result."""
    time_us = at_us + number * 1_000_000
    frames = [Fed(time_us + step, "frames", "alive", f"f{number}-{step}", JPEG) for step in (0, 600_000)]
    seen, began = len(made.results), time.perf_counter()
    made.feed([Fed(time_us, "texts", "alive", f"t{number}", b"alive"), *frames])
    made.read_until(lambda: len(made.results) > seen)
    return (time.perf_counter() - began) * 1000


def turn(stack: Stack, folder: Path, waiting: int) -> tuple[float, float]:
    """(median milliseconds of a probe, processor milliseconds of the worker a probe) with so many waiting."""
    start_us = (int(time.time()) - 600) * 1_000_000
    changes = {"streams": {"frames": {"max_wait": LONGEST_WAIT, "horizon": "1h"}}}
    with town(stack, folder, {"texts": 1, "frames": 1}, **changes) as made:
        made.start()
        silent = [Fed(start_us, "texts", f"silent-{n % KEYS}", f"s{n}", b"silent") for n in range(waiting)]
        made.feed(silent)
        for number in range(20):
            probe(made, number, start_us)
        (worker,) = made.workers
        before = processor_seconds(tree(worker.pid)) or 0.0
        taken = [probe(made, 20 + number, start_us) for number in range(PROBES)]
        spent = (processor_seconds(tree(worker.pid)) or 0.0) - before
        made.kill(worker)
    return statistics.median(taken), spent / PROBES * 1000


def main() -> None:
    """Runs the rounds and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--waiting", type=int, default=10_000)
    given = parser.parse_args()
    ratios: list[tuple[float, float]] = []
    with (
        tempfile.TemporaryDirectory() as name,
        open_stack(Path(os.environ.get("FUSION_CACHE", ".cache")), print) as stack,
    ):
        for number in range(given.rounds):
            few, many = (turn(stack, Path(name), count) for count in (10, given.waiting))
            ratios.append((many[0] / few[0], many[1] / few[1]))
            print(
                f"round {number + 1}: to the result {few[0]:.1f} / {many[0]:.1f} ms, "
                f"processor {few[1]:.1f} / {many[1]:.1f} ms a probe",
                flush=True,
            )
    print(f"\n{given.waiting} against 10 waiting, n = {given.rounds} rounds of {PROBES} probes, ratios within a round")
    for column, what in enumerate(("time to the result", "processor time")):
        values = [ratio[column] for ratio in ratios]
        print(f"{what}: median {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
