"""Rows are divided by key: no key is in two splits, and a key goes the same way in any recording."""

from __future__ import annotations

import itertools

import pytest

from worker.recording.splits import BLOCK_US, FEWEST_KEYS, divide

SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}


def test_no_key_is_in_two_splits_and_the_shares_are_kept() -> None:
    """Of many keys; and of some of them alone each goes the way it went before."""
    rows = [(f"camera-{n % 500}", n * 1_000_000) for n in range(5000)]
    made = divide(rows, SHARES, 0)
    assert made.by_key
    where = {key: split for (key, _), split in zip(rows, made.splits, strict=True)}
    assert all(where[key] == split for (key, _), split in zip(rows, made.splits, strict=True))
    for split, share in SHARES.items():
        assert made.splits.count(split) / len(rows) == pytest.approx(share, abs=0.05)
    some = rows[:200]
    assert divide(some, SHARES, 0).splits == made.splits[:200]


@pytest.mark.parametrize("keys", [1, FEWEST_KEYS - 1])
def test_few_keys_are_divided_by_minute(keys: int) -> None:
    """A minute of a key stays together, and every split gets some."""
    rows = [(f"camera-{n % keys}", n * BLOCK_US // 20) for n in range(6000)]
    made = divide(rows, SHARES, 0)
    assert not made.by_key
    assert set(made.splits) == set(SHARES)
    blocks = {(key, time // BLOCK_US) for key, time in rows}
    found = {(key, time // BLOCK_US, split) for (key, time), split in zip(rows, made.splits, strict=True)}
    assert len(found) == len(blocks)


def test_a_single_split_and_no_rows() -> None:
    """A share of 0 gets nothing; nothing is divided into nothing."""
    rows = [(f"k{n}", n) for n in range(50)]
    assert set(divide(rows, {"dev": 0.0, "train": 1.0}, 0).splits) == {"train"}
    assert divide([], SHARES, 0).splits == ()


@pytest.mark.parametrize("reach_us", [2_000_000, 45_000_000])
def test_rows_of_two_splits_share_no_context(reach_us: int) -> None:
    """Of a key with a row a second no two of other splits lie within the streams' bounds; few rows pay for it."""
    rows = [("camera", n * 1_000_000) for n in range(20_000)]
    made = divide(rows, SHARES, reach_us)
    kept = [(time, split) for (_, time), split in zip(rows, made.splits, strict=True) if split is not None]
    assert {split for _, split in kept} == set(SHARES)
    near = [(a, b) for a, b in itertools.pairwise(kept) if a[1] != b[1]]
    assert near
    assert all(later[0] - earlier[0] > reach_us for earlier, later in near)
    assert len(kept) > 0.9 * len(rows)
