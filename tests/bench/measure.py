"""Processor time and memory of process trees while they run, and what they were at a moment in between."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import psutil

EVERY_SECONDS = 0.1
# Looking for children reads every process of the machine: ten times a second it would cost a good part of a core.
LOOK_EVERY = 10  # samples


class Sample(NamedTuple):
    """Processor seconds so far, by what is watched."""

    at: float
    spent: Mapping[str, float]


def tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants; none once it has ended."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def processor_seconds(processes: Sequence[psutil.Process]) -> float | None:
    """User and system time of these so far, ended children too; None once all have ended."""
    total = None
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        own = times.user + times.system + times.children_user + times.children_system
        total = (total or 0.0) + own
    return total


def peak_bytes(processes: Sequence[psutil.Process]) -> int:
    """The most memory that each of these had resident, added up (VmHWM)."""
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except FileNotFoundError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return total


class Watch:
    """Samples process trees in a thread of its own until it is closed."""

    def __init__(self, pids: Mapping[str, int], memory_of: Sequence[str], now: Callable[[], float] = time.time) -> None:
        """`pids` by name; `memory_of` names those whose peak memory is added up."""
        self._pids, self._memory_of, self._now = dict(pids), memory_of, now
        self.samples: list[Sample] = []
        self._peaks = dict.fromkeys(memory_of, 0)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for number in count():
            if number % LOOK_EVERY == 0:
                self._trees = {name: tree(pid) for name, pid in self._pids.items()}
            spent = {name: processor_seconds(processes) for name, processes in self._trees.items()}
            if None not in spent.values():
                self.samples.append(Sample(self._now(), spent))
            for name in self._memory_of:
                self._peaks[name] = max(self._peaks[name], peak_bytes(self._trees[name]))
            if self._ending.wait(EVERY_SECONDS):
                return

    @property
    def peak(self) -> int:
        """Peak memory so far, in bytes."""
        return sum(self._peaks.values())

    def close(self) -> None:
        """Takes a last sample and ends."""
        self._ending.set()
        self._thread.join()


def spent_between(samples: Sequence[Sample], name: str, first: float, last: float) -> float:
    """Processor seconds from one moment to another, straight lines between the samples."""
    return _at(samples, name, last) - _at(samples, name, first)


def _at(samples: Sequence[Sample], name: str, moment: float) -> float:
    after = min(max(1, bisect_left(samples, moment, key=lambda sample: sample.at)), len(samples) - 1)
    one, other = samples[after - 1], samples[after]
    part = min(max(0.0, (moment - one.at) / (other.at - one.at)), 1.0)
    return one.spent[name] + part * (other.spent[name] - one.spent[name])
