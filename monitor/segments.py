"""The values of a dimension as small numbers: a bounded set, the rest is `other`.

Number 0 is `unknown` (never carried), 1 is `other`. A partition keeps more values than the config asks for, so that
stage two can choose the largest over all partitions; only what is beyond that bound is counted as `other` here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.rules import Dimension

UNKNOWN = "unknown"
OTHER = "other"
#: A partition keeps at least this many values, or `_TIMES` the wanted ones: which are the largest shows only in the sum.
_LEAST = 1_000
_TIMES = 4
#: Numbers must fit the 16 bits that a visitor's row has for one.
_MOST = 60_000


class Segments:
    """Values of one dimension in one partition.

    Attributes:
        names: The value of each number.
        number: Number of each value, -1 for a value that is not carried; a value that is new has none: see `meet`.
        row: int64[numbers], the row of each number in the cells (row 0 is the whole).
        order: int64[numbers], rank of each number's value in code-point order; breaks ties in time.
    """

    def __init__(self, dimension: Dimension) -> None:
        self.dimension = dimension
        self.limit = min(_MOST, max(_LEAST, dimension.max_values * _TIMES)) + 2
        self.names: list[str] = []
        self.number: dict[str | None, int] = {None: -1, "": -1}
        self._provisional: list[str] = []
        self.row: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.order: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.by_order: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def restore(self, names: Iterable[str], first_row: int) -> int:
        """Take over names from a checkpoint; rows are handed out from `first_row`. Returns the next free row."""
        for name in names:
            if name not in self.number:
                first_row = self._add(name, first_row)
        self._rank()
        return first_row

    def numbers_of(self, names: list[str]) -> npt.NDArray[np.int64]:
        """Numbers of values that are known."""
        return np.array([self.number[name] for name in names], np.int64)

    def _add(self, name: str, row: int) -> int:
        name = sys.intern(name)  # as events have it: found without a comparison
        self.number[name] = len(self.names)
        self.names.append(name)
        self.row = np.append(self.row, np.int64(row))
        return row + 1

    def _rank(self) -> None:
        self.by_order = np.array(sorted(range(len(self.names)), key=self.names.__getitem__), np.int64)
        self.order = np.empty(len(self.names), np.int64)
        self.order[self.by_order] = np.arange(len(self.names))

    def meet(self, values: Iterable[str | None]) -> None:
        """Give new values provisional numbers, below -1, until `settle`: which of them count is not known before."""
        for value in values:
            if value not in self.number:
                assert value is not None
                self._provisional.append(value)
                self.number[value] = -1 - len(self._provisional)

    def settle(self, numbers: npt.NDArray[np.int64], next_row: int) -> int:
        """Give the values of events that count their numbers, in place; what was provisional is forgotten.

        Args:
            numbers: As `number` said since the last call, in order of arrival, of the events that count.
            next_row: The first free row of the cells.

        Returns:
            The first free row after that: a new value takes one.
        """
        provisional = self._provisional
        if not provisional:
            return next_row
        for value in provisional:
            del self.number[value]
        new = np.flatnonzero(numbers < -1)
        if new.size:
            codes, first = np.unique(numbers[new], return_index=True)
            final = np.full(len(provisional), self.number[OTHER], np.int64)
            rows_before = next_row
            for code in codes[np.argsort(first)].tolist():
                if len(self.names) < self.limit:
                    final[-2 - code] = len(self.names)
                    next_row = self._add(provisional[-2 - code], next_row)
            if next_row != rows_before:
                self._rank()
            numbers[new] = final[-2 - numbers[new]]
        provisional.clear()
        return next_row


def cells_of(segments: Sequence[Segments], numbers: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Rows of the cells that a visitor or an event counts in, (1 + dimensions, n), of (dimensions, n) numbers."""
    rows = np.zeros((1 + len(segments), numbers.shape[1]), np.int64)
    for row, one, number in zip(rows[1:], segments, numbers, strict=True):
        one.row.take(number, out=row, mode="clip")
    return rows
