"""Seconds without results of the partitions of a worker that ends: `python -m tests.chaos.recovery`.

Three workers with the default settings; one is killed, or stopped, and an anchor with its frames is fed to every
partition at that moment. It is over when all of them have their results. And how soon a successor ends the transaction
that a killed worker left open: from its start to a reader's sight of what lay behind it.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.ground import Ground, ground
from tests.chaos.scene import Scene, eventually
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


def seconds_until_ended(stand: Ground) -> float:
    """From the successor's first step to a reader of committed records that goes on."""
    scene = Scene(stand)
    owner = scene.member()
    scene.leave_open(scene.sink(0), b"never committed")
    other, successor = scene.sink(1), scene.sink(0)
    other.publish(scene.out(b"behind it"), {}, owner.membership)
    began = time.monotonic()
    successor.publish(scene.out(b"the successor's"), {}, owner.membership)
    eventually(scene.sees(b"behind it"))
    seconds = time.monotonic() - began
    for sink in (other, successor):
        sink.close()
    owner.close()
    return seconds


def told(what: str, taken: Sequence[float]) -> str:
    """One line."""
    return f"{what}: median {statistics.median(taken):.2f} s ({min(taken):.2f} to {max(taken):.2f}), n = {len(taken)}"


def main() -> None:
    """Runs the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="fusion-recovery-") as name, ground(Path(name)) as stand:
        for sig in (signal.SIGKILL, signal.SIGTERM):
            taken = [seconds_until_all(stand, Path(name), sig, seed) for seed in range(rounds)]
            print(told(sig.name, taken), flush=True)
        print(
            told("a dead worker's transaction, by its successor", [seconds_until_ended(stand) for _ in range(rounds)])
        )


if __name__ == "__main__":
    main()
