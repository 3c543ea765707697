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

books = types.SimpleNamespace(left=lambda: "")
pipeline = types.SimpleNamespace(books=books, run=lambda: print(gc.get_threshold(), gc.get_freeze_count() > 0) or True)
assemble.worker = lambda *_: contextlib.nullcontext(pipeline)
assemble.run(Settings.model_validate({"http": {"port": 0}, "log": {"level": "error"}}))
"""


def test_the_loop_turns_in_a_process_that_has_settled() -> None:
    """After all parts are made: what the model's libraries leave is there by then."""
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{memory.THRESHOLDS} True"


PAGES = """
import resource
from worker.ops import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        fetched = b"x" * (8 * 2**20)
        del fetched
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

as_it_was, kept = faults(), memory.keep_pages()
faults()
print(kept, as_it_was, faults())
"""


def test_what_a_fetch_frees_the_next_one_uses() -> None:
    """Half of the system's time went into pages that were given back and came again."""
    done = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    kept, as_it_was, now = done.stdout.split()
    assert (kept == "True") == ("glibc" in platform.libc_ver())
    assert kept == "False" or int(now) < int(as_it_was) / 10
