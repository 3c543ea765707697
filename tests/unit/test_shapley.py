"""What each input adds, against the mean over all orders in which inputs can come."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.shapley import shapley


@given(st.lists(st.floats(-1, 1), min_size=16, max_size=16), st.sets(st.integers(0, 3)))
def test_each_adds_its_mean_over_all_orders(values: list[float], chosen: set[int]) -> None:
    """And with the value of nothing they sum to the value of all."""
    inputs = tuple(sorted(chosen))
    added = dict.fromkeys(inputs, 0.0)
    orders = list(itertools.permutations(inputs))
    for order in orders:
        reached = 0
        for one in order:
            added[one] += (values[reached | 1 << one] - values[reached]) / len(orders)
            reached |= 1 << one
    assert shapley(values, inputs) == pytest.approx([added[one] for one in inputs], abs=1e-9)
    assert values[0] + sum(added.values()) == pytest.approx(values[sum(1 << one for one in inputs)], abs=1e-9)
