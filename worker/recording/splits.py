"""Rows -> the splits of a training folder: by key, so that what was learned of one camera is tested on another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# With fewer keys the shares would be far from what was asked for, and a split may be left without any.
FEWEST_KEYS = 20
# Then rows are divided by key and block of event time: frames of one camera a minute apart still look alike, but no
# frame is matched across more than its stream's bounds, which are far shorter.
BLOCK_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Divided:
    """Per row its split; `by_key`: no key is in two splits."""

    splits: tuple[str, ...]
    by_key: bool


def divide(rows: Sequence[tuple[str, int]], shares: Mapping[str, float]) -> Divided:
    """Each row, (key, event time in microseconds), to a split; the same key goes the same way in any recording.

    `shares` sum to 1. By key where there are FEWEST_KEYS or more and every split gets some; else by key and block.
    """
    splits = tuple(_split(key, shares) for key, _ in rows)
    wanted = {name for name, share in shares.items() if share > 0}
    if len({key for key, _ in rows}) >= FEWEST_KEYS and wanted <= set(splits):
        return Divided(splits, True)
    return Divided(tuple(_split(f"{time_us // BLOCK_US}:{key}", shares) for key, time_us in rows), len(wanted) < 2)


def _split(name: str, shares: Mapping[str, float]) -> str:
    drawn = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) / 2**64
    reached, last = 0.0, ""
    for split, share in shares.items():
        reached, last = reached + share, split if share > 0 else last
        if drawn < reached:
            return split
    return last
