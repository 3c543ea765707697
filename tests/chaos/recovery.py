"""Seconds without results of the partitions of a worker that ends: `python -m tests.chaos.recovery`.

Three workers with the default settings; one is killed, or stopped, and an anchor with its frames is fed to every
partition at that moment. It is over when all of them have their results.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import tempfile
import time
from pathlib import Path

from tests.chaos.ground import Ground, ground
from tests.story import minutes_ago, story
from tests.town import town

KEYS = 24


def seconds_until_all(stand: Ground, folder: Path, sig: signal.Signals, seed: int) -> float:
    """From the signal to the last result."""
    start_us = minutes_ago(10)
    with town(stand, folder, nursery=stand.nursery) as made:
        made.start(3)
        first = story(seed, start_us, KEYS, 3)
        made.feed(first)
        made.read_until(lambda: len(made.results) >= KEYS * 3)
        made.read_until(lambda: all("ready" in said for said in made.ask("readyz").values()))
        worker = made.workers.pop(seed % 3)
        worker.send_signal(sig)
        began = time.monotonic()
        made.feed(story(seed + 1000, start_us + 60_000_000, KEYS, 1))
        made.read_until(lambda: len(made.results) >= KEYS * 4)
        seconds = time.monotonic() - began
        assert len(made.results) == KEYS * 4
        worker.wait(30)
        return seconds


def main() -> None:
    """Runs the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="fusion-recovery-") as name, ground(Path(name)) as stand:
        for sig in (signal.SIGKILL, signal.SIGTERM):
            taken = [seconds_until_all(stand, Path(name), sig, seed) for seed in range(rounds)]
            least, most = min(taken), max(taken)
            print(f"{sig.name}: median {statistics.median(taken):.1f} s ({least:.1f} to {most:.1f}), n = {rounds}")


if __name__ == "__main__":
    main()
