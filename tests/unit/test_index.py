"""The hash index against a dict."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.index import HashIndex


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32), st.sampled_from([0, 10, 61]))
def test_it_finds_what_a_dict_finds(seed: int, shift: int) -> None:
    """Also with keys that differ in their high bits only: all of them want the same cell."""
    rng = np.random.default_rng(seed)
    index, known = HashIndex(), {}
    key_of_row = np.zeros(4_000, np.uint64)
    for _ in range(4):
        n = int(rng.integers(0, 400))
        keys = np.unique(rng.integers(1, 1 << 60, n).astype(np.uint64) << np.uint64(shift))[:500]
        keys = keys[[int(k) not in known for k in keys]] if len(keys) else keys
        rows = np.arange(len(known), len(known) + len(keys), dtype=np.int32)
        key_of_row[rows] = keys
        index.insert(rows, key_of_row)
        known |= dict(zip(keys.tolist(), rows.tolist(), strict=True))
        asked = np.concatenate([keys, rng.integers(1, 1 << 60, 50).astype(np.uint64), keys[:7]])
        assert index.find(asked, key_of_row).tolist() == [known.get(int(k), -1) for k in asked]
    keys = np.array(list(known), np.uint64)
    assert index.find(keys, key_of_row).tolist() == list(known.values())


def test_it_grows_and_stays_half_empty() -> None:
    index = HashIndex()
    rng = np.random.default_rng(1)
    keys = np.unique(rng.integers(1, 1 << 63, 300_000).astype(np.uint64))
    for rows in np.array_split(np.arange(len(keys), dtype=np.int32), 7):
        assert (index.find(keys[rows], keys) == -1).all()
        index.insert(rows, keys)
        assert (rows[-1] + 1) * 2 * 4 <= index.nbytes
    assert index.nbytes <= 16 * len(keys) * 1.1
    assert (index.find(keys, keys) == np.arange(len(keys))).all()


def test_nothing_is_found_in_nothing() -> None:
    index, nobody = HashIndex(), np.zeros(1, np.uint64)
    index.insert(np.array([], np.int32), nobody)
    assert index.find(np.array([], np.uint64), nobody).tolist() == []
    assert index.find(np.array([0, 1, 5], np.uint64), nobody).tolist() == [-1, -1, -1]


def test_the_largest_key_and_the_smallest_are_like_any_other() -> None:
    keys = np.array([5, (1 << 64) - 1, 0], np.uint64)
    index = HashIndex()
    index.insert(np.array([1, 2], np.int32), keys)
    assert index.find(keys, keys).tolist() == [-1, 1, 2]
