"""Revenue per goal and currency in exact decimals.

Amounts are whole numbers of the smallest unit seen so far (`scale` decimals). When an amount has more decimals, what
is there is scaled up; when 64 bits could overflow, the plane goes on with Python's unbounded integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.counts import EXACT
from monitor.panes import Panes

I64 = npt.NDArray[np.int64]
_SAFE = 1 << 62
MAX_AMOUNT = Decimal(10) ** 15
MAX_DECIMALS = 18


def amount_of(value: Any) -> Decimal | None:
    """An amount of a property as a decimal; None if it is none (text, negative, not finite, too long)."""
    if value is None or isinstance(value, bool):
        return None
    try:
        amount = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        return None
    if not amount.is_finite() or amount < 0 or amount >= MAX_AMOUNT:
        return None
    exponent = amount.as_tuple().exponent
    return amount if isinstance(exponent, int) and -exponent <= MAX_DECIMALS else None


class Revenue:
    """One measure of the cells per (goal, currency)."""

    def __init__(self, panes: Panes) -> None:
        self._panes = panes
        self.measures: dict[tuple[str, str], int] = {}
        self.scale: dict[tuple[str, str], int] = {}
        self._largest: dict[tuple[str, str], int] = {}

    def add(
        self,
        goal: str,
        currency: str,
        amounts: Sequence[Decimal],
        columns: I64,
        rows: I64,
    ) -> None:
        """Add amounts, each to the cells of its column; `rows` is (cells, amounts)."""
        key = (goal, currency)
        measure = self._measure(key)
        decimals = max(-int(a.as_tuple().exponent) for a in amounts)
        self._rescale(key, decimals)
        scale = self.scale[key]
        units = [int(a.scaleb(scale, EXACT)) for a in amounts]
        self._widen(key, sum(units))
        self._add(measure, columns, rows, units)

    def _add(self, measure: int, columns: I64, rows: I64, units: list[int]) -> None:
        amounts = np.array(units, self._panes.planes[measure].dtype)
        self._panes.add(measure, columns, rows, np.broadcast_to(amounts, rows.shape))

    def _measure(self, key: tuple[str, str]) -> int:
        if key not in self.measures:
            self.measures[key] = self._panes.add_measure(np.int64)
            self.scale[key] = 2
            self._largest[key] = 0
        return self.measures[key]

    def _rescale(self, key: tuple[str, str], decimals: int) -> None:
        if decimals <= self.scale[key]:
            return
        factor = 10 ** (decimals - self.scale[key])
        self._widen(key, self._largest[key] * (factor - 1))
        measure = self.measures[key]
        self._panes.replace(measure, self._panes.planes[measure] * factor)
        self.scale[key] = decimals

    def _widen(self, key: tuple[str, str], more: int) -> None:
        """Keep an upper bound of every cell; go on with unbounded integers before 64 bits overflow."""
        self._largest[key] += more
        plane, measure = self._panes.planes[self.measures[key]], self.measures[key]
        if self._largest[key] >= _SAFE and plane.dtype != object:
            self._panes.replace(measure, plane.astype(object))

    def restore(self, key: tuple[str, str], scale: int, cells: Sequence[tuple[int, int, int]]) -> None:
        """Put back cells (column, row, units of `scale` decimals) of a checkpoint."""
        measure = self._measure(key)
        self._rescale(key, scale)
        factor = 10 ** (self.scale[key] - scale)
        self._widen(key, sum(units for _, _, units in cells) * factor)
        columns, rows, units = (list(some) for some in zip(*cells, strict=True)) if cells else ([], [], [])
        at, of = np.array(columns, np.int64), np.array(rows, np.int64)
        self._add(measure, at, of, [one * factor for one in units])

    def cells(self, key: tuple[str, str]) -> npt.NDArray[Any]:
        """The plane of a measure, in units of `scale[key]` decimals."""
        return self._panes.planes[self.measures[key]]
