"""Grouping a batch by key: equal keys together, in order of arrival, whatever the keys are."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.groups import Groups, order_of


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32), st.integers(0, 3_000), st.sampled_from([1, 5, 1 << 12, 1 << 40, 1 << 64]))
def test_it_is_what_a_stable_sort_gives(seed: int, n: int, distinct: int) -> None:
    """Small keys differ in their low bits only, which the quick way does not see."""
    keys = np.random.default_rng(seed).integers(0, distinct, n, dtype=np.uint64)
    assert order_of(keys).tolist() == np.argsort(keys, kind="stable").tolist()


def test_keys_that_differ_in_a_low_bit_are_two_groups() -> None:
    keys = np.array([8 << 60 | 2, 8 << 60 | 3, 8 << 60 | 2, 5], np.uint64)
    groups = Groups(keys)
    assert groups.keys.tolist() == [5, 8 << 60 | 2, 8 << 60 | 3]
    assert groups.of_event.tolist() == [1, 2, 1, 0]
    assert groups.largest(np.array([7, 1, 9, 4])).tolist() == [4, 9, 1]
