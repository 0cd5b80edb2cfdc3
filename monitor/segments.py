"""The values of a dimension as small numbers: a bounded set, the rest is `other`.

Number 0 is `unknown` (never carried), 1 is `other`. A partition keeps more values than the config asks for, so that
stage two can choose the largest over all partitions; only what is beyond that bound is counted as `other` here.
"""

from __future__ import annotations

from collections.abc import Iterable

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
        row: int64[numbers], the row of each number in the cells (row 0 is the whole).
        order: int64[numbers], rank of each number's value in code-point order; breaks ties in time.
    """

    def __init__(self, dimension: Dimension) -> None:
        self.dimension = dimension
        self.limit = min(_MOST, max(_LEAST, dimension.max_values * _TIMES)) + 2
        self.names: list[str] = []
        self._number: dict[str | None, int] = {None: -1, "": -1}
        self.row: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.order: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.by_order: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def restore(self, names: Iterable[str], first_row: int) -> int:
        """Take over names from a checkpoint; rows are handed out from `first_row`. Returns the next free row."""
        for name in names:
            if name not in self._number:
                first_row = self._add(name, first_row)
        self._rank()
        return first_row

    def numbers_of(self, names: list[str]) -> npt.NDArray[np.int64]:
        """Numbers of values that are known."""
        return np.array([self._number[name] for name in names], np.int64)

    def _add(self, name: str, row: int) -> int:
        self._number[name] = len(self.names)
        self.names.append(name)
        self.row = np.append(self.row, np.int64(row))
        return row + 1

    def _rank(self) -> None:
        self.by_order = np.array(sorted(range(len(self.names)), key=self.names.__getitem__), np.int64)
        self.order = np.empty(len(self.names), np.int64)
        self.order[self.by_order] = np.arange(len(self.names))

    def numbers(self, values: list[str | None], next_row: int) -> tuple[npt.NDArray[np.int64], int]:
        """Number of each value, -1 where it is not carried; and the next free row, as new values take one each."""
        get = self._number.get
        try:
            return np.array([self._number[value] for value in values], np.int64), next_row
        except KeyError:
            pass
        rows_before = next_row
        for value in values:
            if value not in self._number and value is not None and len(self.names) < self.limit:
                next_row = self._add(value, next_row)
        if next_row != rows_before:
            self._rank()
        other = self._number[OTHER]
        return np.array([get(value, other) for value in values], np.int64), next_row
