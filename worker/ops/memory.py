"""The process's memory: freed pages that come again are kept, and the collector is told what never becomes garbage."""

from __future__ import annotations

import ctypes
import gc

# Containers made and not let go, after which the youngest are looked at; ten times as many for the middle ones, a
# hundred times for all. At 700, as Python has it, it runs at each poll. kafka-python leaves each fetch in a cycle, some
# 50 MB of frames, which stays in memory until it is found: at 10,000 a worker is 100 MB larger for the same gain.
THRESHOLDS = (2_000, 10, 10)
# glibc's malloc.h. Bytes at the end of the heap that are kept when they are free, that are asked for at once, and from
# which an allocation has pages of its own: fetches of some megabytes come and go ten times a second, and each page that
# was given back costs a fault and is filled with zeros when it comes again. 32 MiB is the most that glibc takes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT_BYTES = {_TRIM_THRESHOLD: 64 * 2**20, _TOP_PAD: 16 * 2**20, _MMAP_THRESHOLD: 32 * 2**20}


def keep_pages() -> bool:
    """Called before anything large is made; False where the libc has no such settings (musl, macOS)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*one) == 1 for one in _KEPT_BYTES.items())


def settle() -> None:
    """Called once all is loaded: what lives by now is looked at no more.

    Libraries and the model leave some 500,000 objects that stay for as long as the process does; a full collection
    passed over each of them, 0.3 s in which no thread moves.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def unsettle() -> None:
    """Called at the end: libraries that count what is left of theirs then (nanobind) would tell of leaks."""
    gc.unfreeze()
