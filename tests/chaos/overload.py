"""Ten times what a worker can do, for minutes, and then the catching up: `python -m tests.chaos.overload --minutes 5`.

One slow worker is fed in real time at ten times its rate. Its memory and lag are sampled and its health is asked; then
two fast workers take its place, and everything that was fed must come to its one outcome, the sampled keys' as the
oracle says.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis

from tests.bench.memory import MIB, resident_bytes
from tests.chaos.ground import Ground, ground
from tests.story import Fed, nearest_frame
from tests.town import Town, town, verdicts
from tests.unit.incoming import JPEG

KEYS = 30
RATE, BATCH = 30.0, 8  # of the slow worker: results a second, items a batch
TIMES = 10
SAMPLED = ("key-0", "key-1")


def second(number: int, start_us: int) -> list[Fed]:
    """The events of one second: ten texts and ten frames a key."""
    each = int(RATE * TIMES / KEYS)
    events = []
    for key in (f"key-{k}" for k in range(KEYS)):
        for n in range(each):
            at = start_us + number * 1_000_000 + n * (1_000_000 // each)
            events.append(Fed(at, "texts", key, f"{key}-t{number}-{n}", b"now"))
            events.append(Fed(at + 20_000, "frames", key, f"{key}-f{number}-{n}", JPEG))
    return sorted(events)


def sample(made: Town, pid: int, link: Any) -> tuple[float, float, float]:
    """Worker's and Redis' memory (MiB) and the lag; the worker must say that it is ready."""
    assert all(said == "ready\n" for said in made.ask("readyz").values()), made.states()
    lines = [line for line in made.metrics().splitlines() if line.startswith("fusion_consumer_lag_records")]
    lag = sum(float(line.split()[-1]) for line in lines)
    return resident_bytes(pid) / MIB, link.info("memory")["used_memory"] / MIB, lag


def overload(stand: Ground, folder: Path, minutes: float) -> bool:
    """Feeds, samples, catches up; True when nothing is lost, doubled or changed."""
    limits = {"limits": {"max_pending_anchors": 2_000}}
    with town(stand, folder, nursery=stand.nursery, model={"max_batch": BATCH}, **limits) as made:
        made.cost_ms = BATCH / RATE * 1000
        (worker,) = made.start()
        made.read_until(lambda: all("ready" in said for said in made.ask("readyz").values()) and bool(made.ports()))
        start_us, link = time.time_ns() // 1000, redis.Redis.from_url(stand.redis_url)
        events: list[Fed] = []
        for number in range(int(minutes * 60)):
            due = start_us / 1e6 + number
            events += (now := second(number, start_us))
            made.feed(now)
            while time.time() < due + 1:
                made.read(0.1)
            if number % 30 == 20:
                own, cache, lag = sample(made, worker.pid, link)
                print(f"{number:4d} s  worker {own:6.1f} MiB  Redis {cache:5.1f} MiB  lag {lag:.0f}", flush=True)
        fed = sum(event.stream == "texts" for event in events)
        print(f"fed {fed} texts, {len(made.results)} results so far; two fast workers take its place", flush=True)
        made.cost_ms, began = 1.0, time.monotonic()
        made.stop()
        made.start(2)
        made.read_until(lambda: len(made.results) >= fed, 600)
        made.read(1.0)
        ids = [result["inputs"]["texts"]["id"] for result in made.results]
        sampled = [event for event in events if event.key in SAMPLED]
        right = {r["inputs"]["texts"]["id"]: r for r in made.results if r["key"] in SAMPLED}
        same = verdicts(list(right.values())) == nearest_frame(sampled)
        print(
            f"caught up in {time.monotonic() - began:.0f} s: {len(ids)} results, {len(ids) - len(set(ids))} doubled, "
        )
        print(f"{len(made.dead)} dead letters; pairs of {len(SAMPLED)} of {KEYS} keys as the oracle's: {same}")
        return same and len(set(ids)) == len(ids) == fed and set(made.stop()) == {0}


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fusion-overload-") as name, ground(Path(name)) as stand:
        return 0 if overload(stand, Path(name), given.minutes) else 1


if __name__ == "__main__":
    sys.exit(main())
