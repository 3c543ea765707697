"""Memory of a worker and of Redis over a long run: `python -m tests.bench.memory --minutes 10`.

The junctions are fed in real time; resident memory is sampled every few seconds. The first fifth, in which models are
loaded, buffers grow to their size and Redis fills one horizon, is shown but not judged.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import redis

from tests.town import town
from worker.demo.stack import Stack, open_stack
from worker.feeds.junction import junction_events
from worker.feeds.produce import feed

EVERY_SECONDS = 5.0
MIB = 2**20


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sample(stack: Stack, folder: Path, minutes: float, texts_per_second: float) -> tuple[int, list[list[float]]]:
    """Feeds and samples; returns the number of results and [seconds, worker MiB, Redis MiB] of each sample."""
    server = redis.Redis.from_url(stack.redis_url)
    samples: list[list[float]] = []
    with town(stack, folder, cost_ms=None) as made:
        (worker,) = made.start()
        connection = {"bootstrap_servers": stack.bootstrap_servers.split(",")}
        topics = {name: f"{made.name}.{name}" for name in ("texts", "frames")}
        stop = threading.Event()
        feeder = threading.Thread(
            target=feed,
            args=(connection, topics, junction_events(1, 10, minutes * 60, 4.0, texts_per_second)),
            kwargs={"seconds": minutes * 60, "seed": 1, "speed": 1.0, "say": lambda line: None, "stop": stop},
        )
        feeder.start()
        began = time.monotonic()
        while feeder.is_alive():
            made.read(EVERY_SECONDS)
            if time.monotonic() - began > EVERY_SECONDS * (len(samples) + 1):
                memory = (resident_bytes(worker.pid) / MIB, server.info("memory")["used_memory"] / MIB)
                samples.append([time.monotonic() - began, *memory])
                print(f"{samples[-1][0]:6.0f} s  worker {memory[0]:7.1f} MiB  Redis {memory[1]:6.1f} MiB", flush=True)
        made.stop()
        made.read(1.0)
        return len(made.results), samples


def judged(samples: Sequence[Sequence[float]], column: int) -> str:
    """Slope after the first fifth, and the median of its first and last quarter."""
    steady = samples[len(samples) // 5 :]
    at, size = [row[0] / 60 for row in steady], [row[column] for row in steady]
    slope = statistics.linear_regression(at, size).slope
    quarter = max(1, len(size) // 4)
    first, last = statistics.median(size[:quarter]), statistics.median(size[-quarter:])
    return f"slope {slope:+.2f} MiB a minute; first quarter {first:.1f} MiB, last {last:.1f} MiB, most {max(size):.1f}"


def main() -> None:
    """Runs and judges."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--texts-per-second", type=float, default=4.0, help="of each of the 10 junctions")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        open_stack(Path(os.environ.get("FUSION_CACHE", ".cache")), print) as stack,
    ):
        results, samples = sample(stack, Path(name), given.minutes, given.texts_per_second)
    print(
        f"\n{results} results in {given.minutes:g} minutes, n = {len(samples)} samples, judged from the first fifth on"
    )
    print(f"worker: {judged(samples, 1)}")
    print(f"Redis:  {judged(samples, 2)}")


if __name__ == "__main__":
    main()
