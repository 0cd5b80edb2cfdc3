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
    for _ in range(4):
        n = int(rng.integers(0, 400))
        keys = np.unique(rng.integers(1, 1 << 60, n).astype(np.uint64) << np.uint64(shift))
        keys = keys[keys != 0][:500]
        keys = keys[[int(k) not in known for k in keys]] if len(keys) else keys
        rows = np.arange(len(known), len(known) + len(keys), dtype=np.int32)
        index.insert(keys, rows)
        known |= dict(zip(keys.tolist(), rows.tolist(), strict=True))
        asked = np.concatenate([keys, rng.integers(1, 1 << 60, 50).astype(np.uint64), keys[:7]])
        assert index.find(asked).tolist() == [known.get(int(k), -1) for k in asked]
    assert len(index) == len(known)
    keys, rows = index.items()
    assert dict(zip(keys.tolist(), rows.tolist(), strict=True)) == known


def test_it_grows_and_stays_half_empty() -> None:
    index = HashIndex()
    rng = np.random.default_rng(1)
    keys = np.unique(rng.integers(1, 1 << 63, 300_000).astype(np.uint64))
    for part in np.array_split(keys, 7):
        index.insert(part, index.find(part) + np.int32(2))
        assert len(index) * 2 <= len(index._keys)
    assert index.nbytes <= 48 * len(keys) * 1.1
    assert (index.find(keys) == 1).all()


def test_nothing_is_found_in_nothing() -> None:
    index = HashIndex()
    assert index.find(np.array([], np.uint64)).tolist() == []
    assert index.find(np.array([1, 5], np.uint64)).tolist() == [-1, -1]
    index.insert(np.array([], np.uint64), np.array([], np.int32))
    assert len(index) == 0


def test_the_largest_key_is_one_like_any_other() -> None:
    largest = np.array([(1 << 64) - 1], np.uint64)
    index = HashIndex()
    index.insert(largest, np.array([3], np.int32))
    assert index.find(largest).tolist() == [3]
