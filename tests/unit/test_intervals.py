"""Intervals: Wilson's by its own table, and the paired bootstrap against the difference's own spread."""

from __future__ import annotations

import numpy as np
import pytest

from worker.training.evaluate import Measured
from worker.training.intervals import paired, wilson


def told(said: list[int], truth: list[int]) -> Measured:
    """Says these labels with a score near 1."""
    return Measured(np.eye(2)[said] * 9.0, np.array(truth), 1.0, ("a", "b"))


def test_wilson_is_the_published_interval() -> None:
    """Newcombe (1998), table II: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for right, count, low, high in (
        (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
    ):  # fmt: skip
        assert wilson(right, count) == pytest.approx((low, high), abs=5e-5)


def test_a_paired_difference_is_surer_than_two_figures() -> None:
    """Two that err on the same 40 of 200, but for 4 that one gets right: the interval knows that the 36 are shared."""
    truth = [n % 2 for n in range(200)]
    other = told([one ^ (n < 40) for n, one in enumerate(truth)], truth)
    one = told([one ^ (4 <= n < 40) for n, one in enumerate(truth)], truth)
    low, high = paired(one, other, lambda measured: measured.accuracy)
    assert 0 <= low < 0.02 < high < 0.05
    assert paired(one, one, lambda measured: measured.macro_f1) == (0.0, 0.0)
