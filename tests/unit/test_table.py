"""Rows by key: kept, packed as changes or slices, and put back."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.table import PLAIN, Column, Table

SLICES = 4
SCHEMA: dict[str, Column] = {
    "at": ("i8", PLAIN, -1),
    "seg": ("u2", ("device", "brand"), 0),
    "conv": ("i8", (), 5),
}


def keys_of(*numbers: int) -> np.ndarray:
    """Keys that fall into different slices."""
    return np.array([(n % SLICES << 48) + n + 1 for n in numbers], np.uint64)


def write(table: Table, numbers: list[int], value: int) -> None:
    rows = table.rows_of(keys_of(*numbers))
    table.columns["at"][rows] = value
    table.columns["seg"][0, rows] = value % 100
    table.marked[rows] = True


def content(table: Table) -> dict[int, tuple[int, int, int]]:
    n, c = table.size, table.columns
    values = zip(c["at"][:n].tolist(), c["seg"][0, :n].tolist(), c["seg"][1, :n].tolist(), strict=True)
    return dict(zip(table.key[:n].tolist(), values, strict=True))


def test_new_rows_begin_with_their_initial_values() -> None:
    table = Table(SCHEMA)
    assert table.find(keys_of(1, 2)).tolist() == [-1, -1]
    assert table.rows_of(keys_of(1, 2)).tolist() == [0, 1]
    assert table.rows_of(keys_of(3, 1)).tolist() == [2, 0]
    assert table.find(keys_of(1, 4, 3)).tolist() == [0, -1, 2]
    assert content(table) == dict.fromkeys(keys_of(1, 2, 3).tolist(), (-1, 0, 0))
    assert table.columns["conv"].shape[0] == 0


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32))
def test_changes_and_slices_in_order_are_the_table(seed: int) -> None:
    """Also after many rows were forgotten and rows have moved."""
    rng = random.Random(seed)
    table, copy = Table(SCHEMA), Table(SCHEMA)
    for i in range(12):
        write(table, rng.sample(range(2_000), rng.randrange(1, 600)), i)
        copy.put(table.changed(), {})
        assert not table.marked.any()
        assert content(copy) == content(table)
        if rng.random() < 0.3:
            wanted = np.array([rng.random() < 0.5 for _ in range(table.size)], bool)
            table.keep(wanted)
            copy = Table(SCHEMA)
            for number in range(SLICES):
                copy.put(table.in_slice(number, SLICES), {})
            assert content(copy) == content(table)
    assert (table.find(keys_of(*range(2_000))) >= 0).sum() == len(content(copy)) == table.size


def test_keep_carries_marks_and_finds_its_rows() -> None:
    table = Table(SCHEMA)
    write(table, list(range(1_000)), 7)
    table.changed()
    write(table, [3, 500], 9)
    table.keep(table.columns["at"][: table.size] >= 9)
    assert sorted(content(table)) == sorted(keys_of(3, 500).tolist())
    assert np.count_nonzero(table.marked) == 2
    assert (table.find(keys_of(500, 4)) >= 0).tolist() == [True, False]
    rows = table.rows_of(keys_of(500, 4))
    assert table.columns["at"][rows].tolist() == [9, -1]
    assert len(table.key) < 1_000


def test_rows_go_by_label() -> None:
    table = Table(SCHEMA)
    rows = table.rows_of(keys_of(1))
    table.columns["seg"][:, rows] = [[4], [6]]
    table.marked[rows] = True
    packed = table.changed()
    other = Table({"at": ("i8", PLAIN, -1), "seg": ("u2", ("country", "brand"), 9)})
    other.put(packed, {"seg/brand": np.array([0, 0, 0, 0, 0, 0, 60])})
    assert other.columns["seg"][:, 0].tolist() == [9, 60]


def test_no_rows_are_few_bytes() -> None:
    table = Table(SCHEMA)
    assert len(table.changed()) < 100
    table.put(table.in_slice(0, SLICES), {})
    assert table.size == 0
    assert table.nbytes > 0
