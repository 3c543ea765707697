"""What a worker's page costs: `python -m tests.bench.console` (a worker without, with nobody who looks, and with
somebody who does, in turn over one backlog).

The model computes nothing. Processor time a pair is the worker's own count over its own count of anchors, between a
tenth of them and the last, as in tests.bench.traces. `--alone`: hearing of batches of 32, and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.bench.traces import KEYS, reach, told
from tests.integration.test_traces import feed
from tests.shown import verdict
from tests.story import minutes_ago, story
from tests.town import Town, town
from worker.console.seen import LastSeen
from worker.demo.stack import open_stack
from worker.records import Outcome

OFF, UNSEEN, SEEN = "off", "nobody looks", "one looks"
WAYS = (OFF, UNSEEN, SEEN)


@contextlib.contextmanager
def looking(made: Town) -> Iterator[None]:
    """Somebody reads what the page is told, as fast as it comes."""
    (port,) = made.ports().values()
    answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/console/live", timeout=60)
    reader = threading.Thread(target=lambda: all(True for _ in answer), daemon=True)
    reader.start()
    yield


def turn(fed: Town, pairs: int, way: str) -> float:
    """Processor microseconds a pair."""
    with fed.twin() as made, contextlib.ExitStack() as closing:
        made.settings["http"] = {**made.settings["http"], "console": way != OFF}
        (worker,) = made.start()
        first, began = reach(made, 0.1 * pairs)
        if way == SEEN:
            closing.enter_context(looking(made))
        last, ended = reach(made, pairs)
        made.kill(worker)
    return (ended - began) / (last - first) * 1e6


def alone(batches: int = 20_000) -> float:
    """Processor microseconds a pair."""
    fused = [verdict(n) for n in range(32)]
    outcomes, last = [Outcome(one.aligned.anchor.record, ()) for one in fused], LastSeen()
    began = time.process_time()
    for _ in range(batches):
        last.hear(fused, outcomes)
    return (time.process_time() - began) / batches / 32 * 1e6


def main() -> None:
    """Runs the rounds and prints the ratios within each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pairs", type=int, default=24_000)
    parser.add_argument("--alone", action="store_true")
    given = parser.parse_args()
    if given.alone:
        print(f"{told([alone() for _ in range(given.rounds)])} us a pair, n = {given.rounds} x 20,000 batches of 32")
        return
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with (
        tempfile.TemporaryDirectory() as name,
        open_stack(Path(os.environ.get("FUSION_CACHE", ".cache")), print) as stack,
        town(stack, Path(name), {"texts": 4, "frames": 4}, cost_ms=0.0, kafka={"fetcher": "librdkafka"}) as fed,
    ):
        feed(fed, story(1, minutes_ago(30), KEYS, given.pairs // KEYS, 200_000))
        for number in range(given.rounds):
            for way in WAYS[number % 3 :] + WAYS[: number % 3]:
                found[way].append(turn(fed, given.pairs // KEYS * KEYS, way))
            shown = ", ".join(f"{way}: {found[way][-1]:.0f} us" for way in WAYS)
            print(f"round {number + 1}: {shown} a pair", flush=True)
    print(f"\nn = {given.rounds} rounds of {given.pairs} pairs; off: {statistics.median(found[OFF]):.0f} us a pair")
    for way in (UNSEEN, SEEN):
        ratios = [on / off for on, off in zip(found[way], found[OFF], strict=True)]
        print(f"{way}: {told(ratios)} of the processor time without, within a round")


if __name__ == "__main__":
    main()
