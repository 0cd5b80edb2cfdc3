"""Keyed columns: the rows of visitors, sessions and remembered ids as numpy columns beside a hash index.

A row is changed in place and marked; a checkpoint takes the marked rows (`changed`) or one slice of all rows
(`in_slice`) as bytes, and `put` writes such rows back, the later over the earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from monitor.index import I32, U64, HashIndex

T = TypeVar("T", bound=np.generic)
_SMALLEST = 256
#: Labels of a column with one value a row. (A column may also have no label at all: no dimension, no goal.)
PLAIN = ("",)
#: (dtype, labels of the values in a row, value of a new row); no labels = one value, a plain column.
Column = tuple[str, tuple[str, ...], int]
#: (event time ms, key) of a row: what orders rows by age, without ties.
Mark = tuple[int, int]


class Table:
    """Rows by 64-bit key, stored by column.

    Attributes:
        key: uint64[n], the keys.
        columns: name → array of shape (n,) or (labels, n), always at least `size` long.
        marked: bool[n], rows changed since the last checkpoint.
        forgotten: Rows up to this mark were forgotten to stay within a limit; None: none ever were.
    """

    def __init__(
        self, schema: Mapping[str, Column], aged_by: str = "", relative: Collection[str] = ()
    ) -> None:
        """An empty table.

        Args:
            schema: The columns.
            aged_by: The column (plain, event time in ms) that says how old a row is; needed for a limit.
            relative: Columns that say how long before that something was; below 0 it never was.
        """
        self._schema = dict(schema)
        self._aged_by, self._relative = aged_by, frozenset(relative)
        self.forgotten: Mark | None = None
        self._index = HashIndex()
        self.size = 0
        self.key: U64 = np.zeros(_SMALLEST, np.uint64)
        self.marked: npt.NDArray[np.bool_] = np.zeros(_SMALLEST, bool)
        self.columns: dict[str, npt.NDArray[Any]] = {
            name: self._new(column, _SMALLEST) for name, column in self._schema.items()
        }

    @staticmethod
    def _new(column: Column, n: int) -> npt.NDArray[Any]:
        dtype, labels, initial = column
        return np.full(n if labels == PLAIN else (len(labels), n), initial, dtype)

    def find(self, keys: U64) -> I32:
        """Row number of each key, -1 where there is none."""
        return self._index.find(keys, self.key)

    def rows_of(self, keys: U64) -> I32:
        """Row numbers of distinct keys, adding rows for new ones."""
        return self.add(keys, self.find(keys))

    def add(self, keys: U64, rows: I32) -> I32:
        """What `find` gave for distinct keys, with new rows where that was -1."""
        fresh = np.flatnonzero(rows < 0)
        if fresh.size:
            end = self.size + len(fresh)
            self._grow(end)
            new = np.arange(self.size, end, dtype=np.int32)
            rows[fresh] = new
            self.key[self.size : end] = keys[fresh]
            self.size = end
            self._index.insert(new, self.key)
        return rows

    def read(self, column: str, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A copy of a column's values in these rows, (rows,) or (labels, rows).

        Indexing would take three times as long.
        """
        return self.columns[column].take(rows, axis=-1)

    def write(self, column: str, rows: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
        """Set a column's values in these rows, in the shape in which `read` gives them."""
        self.columns[column][..., rows] = values

    def change(
        self,
        column: str,
        rows: npt.NDArray[Any],
        before: npt.NDArray[Any],
        after: npt.NDArray[Any],
    ) -> None:
        """Like `write`, of a column of (labels, rows) of which few values differ from what `read` gave."""
        for whole, was, new in zip(self.columns[column], before, after, strict=True):
            changed = np.flatnonzero(was != new)
            if changed.size:
                whole[rows[changed]] = new[changed]

    def _grow(self, needed: int) -> None:
        capacity = len(self.key)
        if needed <= capacity:
            return
        # By a quarter, not by two: the columns are most of the memory of a worker.
        new = max(needed, capacity + capacity // 4)
        extra = new - capacity
        self.key = np.concatenate([self.key, np.zeros(extra, np.uint64)])
        self.marked = np.concatenate([self.marked, np.zeros(extra, bool)])
        for name, column in self._schema.items():
            self.columns[name] = np.concatenate([self.columns[name], self._new(column, extra)], axis=-1)

    def keep(self, wanted: npt.NDArray[np.bool_]) -> None:
        """Forget all rows but those wanted (bool[size]). Row numbers change."""
        n = int(np.count_nonzero(wanted))
        capacity = max(_SMALLEST, n + n // 4)

        def move(old: npt.NDArray[T], new: npt.NDArray[T]) -> npt.NDArray[T]:
            new[..., :n] = old[..., : self.size][..., wanted]
            return new

        self.key = move(self.key, np.zeros(capacity, np.uint64))
        self.marked = move(self.marked, np.zeros(capacity, bool))
        for name, column in self._schema.items():
            self.columns[name] = move(self.columns[name], self._new(column, capacity))
        self.size = n
        self._index = HashIndex()
        self._index.insert(np.arange(n, dtype=np.int32), self.key)

    def limit(
        self, most: int, dead_before_ms: int, leaving: Callable[[npt.NDArray[np.intp]], None] | None = None
    ) -> int:
        """Forget the oldest rows if there are more than `most`; how many of them were not dead yet.

        A tenth more than needed goes, so that a full table is not sorted again with every batch.

        Args:
            most: Rows allowed.
            dead_before_ms: Rows older than this event time are of no use any more; they go first and do not count.
            leaving: Told the row numbers that go while they are still there.
        """
        if self.size <= most:
            return 0
        dead = self.columns[self._aged_by][: self.size] < dead_before_ms
        going = self.size - (most - most // 10)
        early = going - int(np.count_nonzero(dead))
        if early <= 0:
            self.keep(~dead)
            return 0
        mark = self._mark_of_oldest(going)
        self.forgotten = mark if self.forgotten is None else max(mark, self.forgotten)
        gone = self._up_to(mark)
        if leaving is not None:
            leaving(np.flatnonzero(gone))
        self.keep(~gone)
        return early

    def _mark_of_oldest(self, n: int) -> Mark:
        """The mark of the n-th oldest row (from 1)."""
        age = self.columns[self._aged_by][: self.size]
        at = np.partition(age, n - 1)[n - 1]
        ties = self.key[: self.size][age == at]
        among = n - 1 - int(np.count_nonzero(age < at))
        return int(at), int(np.partition(ties, among)[among])

    def _up_to(self, mark: Mark) -> npt.NDArray[np.bool_]:
        """bool[size]: rows that are not younger than the mark."""
        age = self.columns[self._aged_by][: self.size]
        gone: npt.NDArray[np.bool_] = age < mark[0]
        gone |= (age == mark[0]) & (self.key[: self.size] <= np.uint64(mark[1]))
        return gone

    def drop_forgotten(self, *, at_least: int = 1) -> None:
        """Drop rows up to `forgotten` that old records brought back, if there are that many."""
        if self.forgotten is None:
            return
        gone = self._up_to(self.forgotten)
        if int(np.count_nonzero(gone)) >= at_least:
            self.keep(~gone)

    def changed(self) -> bytes:
        """The marked rows as bytes; the marks are taken off."""
        rows = np.flatnonzero(self.marked[: self.size])
        self.marked[rows] = False
        return self._pack(rows)

    def in_slice(self, number: int, of: int) -> bytes:
        """All rows whose key falls into slice `number` of `of` (a power of two), as bytes."""
        high = (self.key[: self.size] >> np.uint64(48)) & np.uint64(of - 1)
        return self._pack(np.flatnonzero(high == np.uint64(number)))

    def _pack(self, rows: npt.NDArray[np.intp]) -> bytes:
        parts = {"key": self.key[rows].tobytes()}
        for name, (_, labels, _) in self._schema.items():
            for i, label in enumerate(labels):
                column = self.columns[name] if labels == PLAIN else self.columns[name][i]
                parts[f"{name}/{label}"] = column[rows].tobytes()
        return msgspec.msgpack.encode((len(rows), parts))

    def put(self, packed: bytes, translate: Mapping[str, npt.NDArray[np.int64]]) -> None:
        """Write packed rows over what is there.

        Values go by label: a label that the schema no longer has is passed over, a new one keeps its initial value.

        Args:
            packed: What `changed` or `in_slice` gave.
            translate: `column/label` → what each stored value is called now, where that may differ.
        """
        n, parts = msgspec.msgpack.decode(packed, type=tuple[int, dict[str, bytes]])
        if not n:
            return
        rows = self.rows_of(np.frombuffer(parts["key"], np.uint64))
        age = self.columns[self._aged_by][rows] if self._aged_by else np.zeros(len(rows), np.int64)
        for name, (dtype, labels, _) in self._schema.items():
            for i, label in enumerate(labels):
                column = self.columns[name] if labels == PLAIN else self.columns[name][i]
                place = f"{name}/{label}"
                if (data := parts.get(place)) is not None:
                    values = np.frombuffer(data, dtype)
                    column[rows] = translate[place][values] if place in translate else values
                elif name in self._relative:
                    held = column[rows]
                    aged = np.frombuffer(parts[f"{self._aged_by}/"], np.int64) - age
                    most = np.iinfo(column.dtype).max
                    column[rows] = np.where(held < 0, held, np.minimum(held + aged, most))

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        columns = sum(column.nbytes for column in self.columns.values())
        return columns + self.key.nbytes + self.marked.nbytes + self._index.nbytes
