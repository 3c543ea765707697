"""Rows -> the splits of a training folder: by key, so that what was learned of one camera is tested on another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# With fewer keys the shares would be far from what was asked for, and a split may be left without any.
FEWEST_KEYS = 20
# Then rows are divided by key and block of event time, of which most are far from its edges.
BLOCK_US = 60_000_000
_REACHES_A_BLOCK = 10


@dataclass(frozen=True, slots=True)
class Divided:
    """Per row its split, None where it is left out; `by_key`: no key is in two splits."""

    splits: tuple[str | None, ...]
    by_key: bool


def divide(rows: Sequence[tuple[str, int]], shares: Mapping[str, float], reach_us: int) -> Divided:
    """Each row, (key, event time in microseconds), to a split; the same key goes the same way in any recording.

    By key where there are FEWEST_KEYS or more and every split gets some; else by key and block. Two rows of a key that
    lie within `reach_us` of each other may have the same context: then rows so near after a block of another split are
    left out, so that no event is in two splits.

    Args:
        shares: per split; they sum to 1.
        reach_us: of the widest stream, `before` and `after` together.
    """
    splits = tuple(_split(key, shares) for key, _ in rows)
    wanted = {name for name, share in shares.items() if share > 0}
    if len({key for key, _ in rows}) >= FEWEST_KEYS and wanted <= set(splits):
        return Divided(splits, True)
    block = max(BLOCK_US, _REACHES_A_BLOCK * reach_us)

    def in_block(key: str, time_us: int) -> str | None:
        number = time_us // block
        own = _split(f"{number}:{key}", shares)
        is_near = time_us - number * block < reach_us
        return None if is_near and _split(f"{number - 1}:{key}", shares) != own else own

    return Divided(tuple(in_block(*row) for row in rows), len(wanted) < 2)


def _split(name: str, shares: Mapping[str, float]) -> str:
    drawn = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) / 2**64
    reached, last = 0.0, ""
    for split, share in shares.items():
        reached, last = reached + share, split if share > 0 else last
        if drawn < reached:
            return split
    return last
