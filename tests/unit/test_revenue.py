"""Sums of money: exact, of any size and scale."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.panes import Panes
from monitor.revenue import MAX_AMOUNT, Revenue, amount_of
from monitor.windows import Window

AMOUNTS = st.decimals(0, MAX_AMOUNT - 1, allow_nan=False, allow_infinity=False, places=None).map(amount_of)
AMOUNTS = AMOUNTS.filter(lambda a: a is not None)
KEY = ("buy", "EUR")


def revenue() -> Revenue:
    return Revenue(Panes([Window.parse("1m")], 0))


def add(found: Revenue, amounts: list[Decimal], row: int = 0) -> None:
    n = len(amounts)
    for column in (1, 2):
        found.add(*KEY, amounts, np.full(n, column), np.full((1, n), row))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.lists(AMOUNTS, min_size=1, max_size=4), min_size=1, max_size=5))
def test_sums_are_exact(batches: list[list[Decimal]]) -> None:
    found = revenue()
    for amounts in batches:
        add(found, amounts)
    total = sum((Fraction(a) for amounts in batches for a in amounts), Fraction(0))
    plane = found.cells(KEY)
    for column in (1, 2):
        assert Fraction(int(plane[column, 0]), 10 ** found.scale[KEY]) == total

    # And a checkpoint holds them: units as text, any scale.
    again = revenue()
    add(again, [Decimal("0.001")], row=3)
    again.restore(KEY, found.scale[KEY], [(1, 0, int(plane[1, 0]))])
    assert Fraction(int(again.cells(KEY)[1, 0]), 10 ** again.scale[KEY]) == total
    assert Fraction(int(again.cells(KEY)[1, 3]), 10 ** again.scale[KEY]) == Fraction(1, 1000)


def test_sums_go_on_where_64_bits_end() -> None:
    found = revenue()
    for _ in range(3):
        add(found, [Decimal("999999999999999.999999999999999999")] * 5)
    assert found.cells(KEY).dtype == object
    assert found.cells(KEY)[1, 0] == 15 * (10**33 - 1)


def test_ordinary_sums_stay_numbers_of_the_machine() -> None:
    found = revenue()
    add(found, [Decimal("9.99"), Decimal(5)])
    assert (found.cells(KEY).dtype, found.scale[KEY], int(found.cells(KEY)[2, 0])) == (np.int64, 2, 1499)


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("19.90", "19.90"),
        (5, "5"),
        (0.1, "0.1"),
        (Decimal("1E+3"), "1000"),
        (0, "0"),
        ("-0.01", None),
        ("1e15", None),
        ("1e-19", None),
        ("0." + "1" * 19, None),
        ("NaN", None),
        ("Infinity", None),
        ("12,50", None),
        ("", None),
        ([], None),
        (True, None),
        (None, None),
        (float("inf"), None),
    ],
)
def test_what_is_an_amount(value: object, amount: str | None) -> None:
    assert amount_of(value) == (None if amount is None else Decimal(amount))
