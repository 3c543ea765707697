"""Freed pages are kept; the garbage collector passes over what was there at the start, and over nothing else."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from worker.ops import memory


class Node:
    """One end of a cycle."""

    def __init__(self) -> None:
        self.other: Node | None = None


def cycle() -> weakref.ref[Node]:
    """Garbage that only the collector finds."""
    one, two = Node(), Node()
    one.other, two.other = two, one
    return weakref.ref(one)


@pytest.fixture
def settled() -> Iterator[weakref.ref[Node]]:
    """A process that has settled with garbage in it; Python's own ways again afterwards."""
    before = gc.get_threshold()
    gc.disable()
    garbage = cycle()
    gc.enable()
    memory.settle()
    yield garbage
    gc.unfreeze()
    gc.set_threshold(*before)


def test_a_full_collection_looks_at_nothing_that_was_there_at_the_start(settled: weakref.ref[Node]) -> None:
    """Half a million objects of the libraries stay as long as the process; garbage among them goes first."""
    assert settled() is None
    assert gc.get_freeze_count() > 20_000
    assert len(gc.get_objects()) < gc.get_freeze_count() / 10


def test_cycles_that_are_made_later_are_found(settled: weakref.ref[Node]) -> None:
    """Else the worker would grow without end."""
    later = cycle()
    kept = [Node() for _ in range(gc.get_threshold()[0] + 1)]
    assert later() is None
    assert kept


RUN = """
import contextlib, gc, types
from worker import assemble
from worker.config import Settings

budget = types.SimpleNamespace(left=lambda: "")
run = lambda: print(gc.get_threshold(), gc.get_freeze_count() > 0) or True
pipeline = types.SimpleNamespace(budget=budget, run=run, stop=lambda: None)
assemble.worker = lambda *_: contextlib.nullcontext(pipeline)
assemble.run(Settings.model_validate({"http": {"port": 0}, "log": {"level": "error"}}))
"""


def test_the_loop_turns_in_a_process_that_has_settled() -> None:
    """After all parts are made: what the model's libraries leave is there by then."""
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{memory.THRESHOLDS} True"


PAGES = """
import resource, sys
from worker.ops import memory

def faults(sizes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        fetched = [b"x" * size for size in sizes]
        del fetched
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = sys.argv[1] == "keep" and memory.keep_pages()
sizes = [20 * 2**20] if sys.argv[2] == "fetch" else [100_000] * 80
faults(sizes)
print(kept, faults(sizes))
"""


def faults_of(*arguments: str) -> int | None:
    """Page faults of ten rounds, once warm; None where this libc cannot keep pages."""
    done = subprocess.run([sys.executable, "-c", PAGES, *arguments], capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    assert (kept == "True") == (arguments[0] == "keep" and "glibc" in platform.libc_ver())
    return None if "glibc" not in platform.libc_ver() else int(faults)


def test_what_a_fetch_or_a_poll_frees_the_next_one_uses() -> None:
    """Half of the system's time went into pages that were given back and came again."""
    found = [faults_of("keep", "fetch"), faults_of("keep", "poll"), faults_of("leave", "poll")]
    if None not in found:
        fetch, poll, as_glibc_has_it = (faults or 0 for faults in found)
        assert max(fetch, poll) < 100 < as_glibc_has_it
