"""What traces cost: `python -m tests.bench.traces` (a worker without, and at each ratio, in turn over one backlog).

Every text and frame names a trace. The model computes nothing. Processor time a pair is the worker's own count over its
own count of anchors, between a tenth of them and the last. `--alone`: spans of 32 pairs, made and sent, nothing else.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.collector import Collector, collector
from tests.integration.test_traces import feed
from tests.story import minutes_ago, story
from tests.town import Town, town
from tests.unit.test_commit import outcome
from tests.unit.test_traces_off_and_on import batch
from tests.unit.worker_in_memory import Counting
from worker.demo.stack import open_stack
from worker.ops.traces import OpenTelemetryTraces, otlp

KEYS = 16
LOOK_SECONDS = 0.1


def counts(metrics: str) -> tuple[float, float]:
    """(anchors done, processor seconds) so far."""
    done = re.search(r'^fusion_anchors_total\{state="done"\} (\S+)', metrics, re.MULTILINE)
    spent = re.search(r"^process_cpu_seconds_total (\S+)", metrics, re.MULTILINE)
    return (float(done[1]), float(spent[1])) if done and spent else (0.0, 0.0)


def reach(made: Town, anchors: float) -> tuple[float, float]:
    """`counts` once so many anchors are done."""
    while (found := counts(made.metrics()))[0] < anchors:
        assert all(worker.poll() is None for worker in made.workers), made.log()
        time.sleep(LOOK_SECONDS)
    return found


def turn(fed: Town, pairs: int, ratio: float | None, sent: Collector) -> float:
    """Processor microseconds a pair; `ratio` None: traces are off."""
    with fed.twin() as made:
        if ratio is not None:
            made.settings["traces"] = {"endpoint": sent.endpoint, "ratio": ratio}
        (worker,) = made.start()
        (first, began), (last, ended) = (reach(made, share * pairs) for share in (0.1, 1.0))
        made.kill(worker)
    return (ended - began) / (last - first) * 1e6


def alone(batches: int = 128) -> float:
    """Processor microseconds a pair whose batch is recorded, with what the collector, here in this process, takes."""
    heard: Any = Counting()
    with collector() as sent:
        made = OpenTelemetryTraces(
            otlp(sent.endpoint, None), heard, heard, ratio=1.0, service="s", group="g", topic="t"
        )
        pairs = batch(*(f"00-{n:032x}-{n:016x}-01" for n in range(1, 65)))
        began = time.process_time()
        for _ in range(batches):
            with made.process(pairs) as trace, made.settle([replace(outcome(0), trace=trace)]):
                pass
        made.close()
        assert len(sent.spans) == 2 * batches
    return (time.process_time() - began) / batches / 32 * 1e6


def told(values: list[float]) -> str:
    """Median, and from where to where."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    """Runs the rounds and prints the ratios within each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pairs", type=int, default=24_000)
    parser.add_argument("--alone", action="store_true")
    given = parser.parse_args()
    if given.alone:
        values = [alone() for _ in range(1 + given.rounds)][1:]  # the first one imports
        print(f"{told(values)} us a recorded pair, n = {given.rounds} x 128 batches of 32 pairs")
        return
    ways: list[float | None] = [None, 0.1, 1.0]
    found: dict[float | None, list[float]] = {way: [] for way in ways}
    with (
        tempfile.TemporaryDirectory() as name,
        open_stack(Path(os.environ.get("FUSION_CACHE", ".cache")), print) as stack,
        collector() as sent,
        town(stack, Path(name), {"texts": 4, "frames": 4}, cost_ms=0.0, kafka={"fetcher": "librdkafka"}) as fed,
    ):
        feed(fed, story(1, minutes_ago(30), KEYS, given.pairs // KEYS, 200_000))
        for number in range(given.rounds):
            for way in ways[number % 3 :] + ways[: number % 3]:
                found[way].append(turn(fed, given.pairs // KEYS * KEYS, way, sent))
            shown = ", ".join(f"{way or 'off'}: {found[way][-1]:.0f} us" for way in ways)
            print(f"round {number + 1}: {shown} a pair", flush=True)
        print(f"{len(sent.spans)} spans, {sum(len(span.links) for span in sent.spans)} links exported")
    print(f"\nn = {given.rounds} rounds of {given.pairs} pairs; processor time to that without traces, within a round")
    for way in ways[1:]:
        print(f"ratio {way}: {told([on / off for on, off in zip(found[way], found[None], strict=True)])}")


if __name__ == "__main__":
    main()
