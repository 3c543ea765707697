"""`make bench`: the whole road against the bare model and against a plain loop, on the same events, interleaved.

Figures are anchors per second; ratios are taken within one round, since the machine changes from minute to minute.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.loops import WARM
from tests.story import Fed, minutes_ago
from tests.town import town
from worker.demo.stack import Stack, open_stack
from worker.feeds.junction import junction_events

EVENTS = {"seed": 3, "junctions": 10, "seconds": 60.0, "frames_per_second": 2.0, "texts_per_second": 2.0}


def road(stack: Stack, folder: Path, fed: list[Fed], guarantee: str) -> float:
    """Anchors per second of one worker with everything on, from its hundredth result to its last."""
    anchors = sum(event.stream == "texts" for event in fed)
    changes: dict[str, Any] = {"delivery": {"guarantee": guarantee}, "cost_ms": None}
    with town(stack, folder, {"texts": 1, "frames": 1}, **changes) as made:
        made.feed(fed)
        made.start()
        made.read_until(lambda: len(made.results) >= WARM, 120)
        began, first = time.perf_counter(), len(made.results)
        made.read_until(lambda: len(made.results) >= anchors, 120)
        rate = (anchors - first) / (time.perf_counter() - began)
        made.stop()
    return rate


def loop(kind: str, stack: Stack, folder: Path, fed: list[Fed]) -> float:
    """Anchors per second of `tests.bench.loops`."""
    with town(stack, folder, {"texts": 1, "frames": 1}) as made:
        made.feed(fed)
        anchors = sum(event.stream == "texts" for event in fed)
        names = {name: f"{made.name}.{name}" for name in ("texts", "frames")}
        spec = {"events": EVENTS, "kafka": stack.bootstrap_servers, "anchors": anchors, "out": f"{made.name}.fusions"}
        path = folder / "spec.json"
        path.write_text(json.dumps({**spec, **names}))
        command = [sys.executable, "-m", "tests.bench.loops", kind, str(path)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    """Runs the rounds and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    start = minutes_ago(10)
    fed = [Fed(start + e.time_us, e.stream, e.key, e.id, e.body) for e in junction_events(**EVENTS)]  # type: ignore[arg-type]
    found: dict[str, list[float]] = {}
    with (
        tempfile.TemporaryDirectory() as name,
        open_stack(Path(os.environ.get("FUSION_CACHE", ".cache")), print) as stack,
    ):
        folder = Path(name)
        for number in range(rounds):
            for kind in ("bare", "plain"):
                found.setdefault(kind, []).append(loop(kind, stack, folder, fed))
            for guarantee in ("exactly_once", "at_least_once"):
                found.setdefault(guarantee, []).append(road(stack, folder, fed, guarantee))
            print(
                f"round {number + 1} of {rounds}: " + ", ".join(f"{k} {v[-1]:.0f}/s" for k, v in found.items()),
                flush=True,
            )
    anchors = sum(event.stream == "texts" for event in fed)
    print(f"\n{len(os.sched_getaffinity(0))} cores, n = {rounds} rounds of {anchors} anchors")
    pairs = [("exactly_once", "bare"), ("exactly_once", "plain"), ("exactly_once", "at_least_once"), ("plain", "bare")]
    for one, other in pairs:
        ratios = [a / b for a, b in zip(found[one], found[other], strict=True)]
        print(f"{one} / {other}: median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
