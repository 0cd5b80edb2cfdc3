"""Counts per pane: how many sit where in event time, and the sum of a sliding window.

All windows share one set of cells. Near the clock a cell is as fine as the shortest window's pane; once a cell has
left that window it is added to a coarser one, fine enough for the windows that still hold it. So an event touches one
cell per row however many windows there are, and a window is a sum over 60-400 cells when somebody asks.

A cell is addressed by (measure, time, row): the measure is what is counted (visitors, converters of a goal, …), the row
is a segment (row 0 is the whole).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from monitor.windows import Window

I64 = npt.NDArray[np.int64]
Plane = npt.NDArray[Any]

_ROWS = 16


@dataclass(frozen=True, slots=True)
class Tier:
    """Cells of one length, for several windows, the longest last.

    `first`: number of its first column; `count`: how many columns it cycles through.
    """

    pane_ms: int
    windows: tuple[Window, ...]
    first: int
    count: int


def tiers_of(windows: Sequence[Window], max_ahead_ms: int) -> tuple[Tier, ...]:
    """The tiers for a set of windows, finest first.

    A tier covers the ages up to its window's length; its cells are as fine as that window's panes and those of all
    longer windows need (their greatest common divisor).
    """
    ordered = sorted(windows, key=lambda w: w.length_ms)
    panes = [math.gcd(*(w.pane_ms for w in ordered[i:])) for i in range(len(ordered))]
    tiers: list[Tier] = []
    first = 0
    covered: list[Window] = []
    for i, window in enumerate(ordered):
        covered.append(window)
        last = i + 1 == len(ordered)
        if not last and panes[i + 1] == panes[i]:
            continue  # the next window's tier is as fine: let it cover these ages too
        span = window.length_ms + (0 if last else panes[i + 1]) + (0 if tiers else max_ahead_ms)
        count = -(-span // panes[i]) + 3
        tiers.append(Tier(panes[i], tuple(covered), first, count))
        covered = []
        first += count
    return tuple(tiers)


def _of_sums(plane: Plane) -> np.dtype[Any]:
    """The type of sums of cells."""
    return plane.dtype if plane.dtype == object else np.dtype(np.int64)


def first_pane_start(window: Window, at_ms: int) -> int:
    """Start (epoch ms) of the oldest pane that the window holds at `at_ms`."""
    return (at_ms // window.pane_ms - window.length_ms // window.pane_ms + 1) * window.pane_ms


@dataclass(frozen=True, slots=True)
class Parts:
    """Columns of several spans, one after the other. `of`: whose; `starts`: where those of each begin."""

    of: I64
    columns: I64
    starts: I64

    @classmethod
    def joined(cls, by_span: Mapping[int, Sequence[I64]]) -> Self:
        """Those of each span."""
        joined = {number: np.concatenate(parts) for number, parts in by_span.items()}
        held = {number: columns for number, columns in joined.items() if columns.size}
        ends = np.cumsum([0, *map(len, held.values())])
        columns = np.concatenate(list(held.values())) if held else np.zeros(0, np.int64)
        return cls(np.array(list(held), np.int64), columns, ends[:-1])


@dataclass(frozen=True, slots=True)
class Spans:
    """Several spans of event time, and what is to be added up for each."""

    count: int
    """How many."""
    whole: dict[int, list[int]]
    """Span → tiers that belong to it as a whole."""
    plus: Parts
    """What is to be added besides."""
    minus: Parts
    """What is to be taken off again."""


class Panes:
    """Cells of several measures, and the event time up to which they were moved along (`clock_ms`).

    Beside its cells each measure keeps their sum per tier, so that a window of many panes is the sum of a few numbers.

    Attributes:
        planes: one array (columns + 1, rows) per measure: int32 for counts, int64 or object for amounts. The last
            column, which is also column -1, takes what belongs in none; it means nothing.
        whole: one array (tiers + 1, rows) per measure: the sum of the columns of each tier; the last means nothing.
    """

    def __init__(self, windows: Sequence[Window], max_ahead_ms: int) -> None:
        self.tiers = tiers_of(windows, max_ahead_ms)
        self.columns = self.tiers[-1].first + self.tiers[-1].count
        self.rows = _ROWS
        self.planes: list[Plane] = []
        self.whole: list[Plane] = []
        self._tier_of = np.repeat(np.arange(len(self.tiers) + 1), [*(t.count for t in self.tiers), 1])
        self.clock_ms: int | None = None
        # Oldest event time that each tier holds, in falling order; ages beyond the last are forgotten.
        self._oldest: I64 = np.zeros(len(self.tiers), np.int64)
        self._pane: I64 = np.array([t.pane_ms for t in self.tiers] + [1], np.int64)
        self._first: I64 = np.array([t.first for t in self.tiers] + [0], np.int64)
        self._count: I64 = np.array([t.count for t in self.tiers] + [1], np.int64)

    def add_measure(self, dtype: npt.DTypeLike) -> int:
        """Number of a new measure, all zero."""
        self.planes.append(np.zeros((self.columns + 1, self.rows), dtype))
        self.whole.append(np.zeros((len(self.tiers) + 1, self.rows), _of_sums(self.planes[-1])))
        return len(self.planes) - 1

    def replace(self, measure: int, plane: Plane) -> None:
        """Put other cells in the place of a measure's."""
        self.planes[measure] = plane
        first = [tier.first for tier in self.tiers] + [self.columns]
        self.whole[measure] = np.add.reduceat(plane, first, axis=0, dtype=_of_sums(plane))

    def ensure_rows(self, rows: int) -> None:
        """Make room for that many rows."""
        if rows <= self.rows:
            return
        more = max(rows, self.rows + self.rows // 2) - self.rows
        self.rows += more
        for arrays in (self.planes, self.whole):
            for i, array in enumerate(arrays):
                arrays[i] = np.concatenate([array, np.zeros((len(array), more), array.dtype)], axis=1)

    def column(self, times: I64) -> I64:
        """Column of each event time, -1 where it is older than every window or not a time at all."""
        if not len(times) or times.min() >= self._oldest[0]:
            finest = self.tiers[0]
            return times // finest.pane_ms % finest.count
        tier = np.zeros(len(times), np.intp)
        for oldest in self._oldest:
            tier += times < oldest
        column: I64 = self._first[tier] + times // self._pane[tier] % self._count[tier]
        column[tier == len(self.tiers)] = -1
        return column

    def starts(self) -> I64:
        """Start (epoch ms) of the pane that each column holds now, -1 for a column that holds none."""
        starts = np.full(self.columns, -1, np.int64)
        newer_edge = np.iinfo(np.int64).max
        for i, tier in enumerate(self.tiers):
            oldest = int(self._oldest[i])
            pane = oldest // tier.pane_ms + np.arange(tier.count, dtype=np.int64)
            pane = pane[pane * tier.pane_ms < newer_edge]
            starts[tier.first + pane % tier.count] = pane * tier.pane_ms
            newer_edge = oldest
        return starts

    def add(self, measure: int, column: I64, rows: I64, amount: int | Plane) -> None:
        """Add to cells.

        Args:
            measure: Its number.
            column: (n) columns.
            rows: (n) row of each, or (k, n) rows of each.
            amount: To each; or one for each cell, in the shape of `rows`.
        """
        plane, whole = self.planes[measure], self.whole[measure]
        for array, line in ((plane, column), (whole, self._tier_of[column])):
            # Of the array's own type: with another one numpy adds forty times as slowly.
            what = np.asarray(amount, array.dtype).reshape(-1)
            np.add.at(array.reshape(-1), (line * self.rows + rows).reshape(-1), what)

    def advance(self, clock_ms: int) -> None:
        """Move the cells along to a later event time; an earlier one changes nothing."""
        if self.clock_ms is not None and clock_ms <= self.clock_ms:
            return
        before = self._oldest.copy()
        for i, tier in enumerate(self.tiers):
            # One with shorter panes may begin earlier than a longer one.
            start = min(first_pane_start(window, clock_ms) for window in tier.windows)
            if i:  # a longer window with longer panes may begin later than a shorter one
                start = min(start, int(self._oldest[i - 1]))
            coarser = self.tiers[i + 1].pane_ms if i + 1 < len(self.tiers) else 1
            self._oldest[i] = start // coarser * coarser
        if self.clock_ms is not None and not np.array_equal(before, self._oldest):
            # Oldest first, so that no column is cleared after something was added to it.
            for i in reversed(range(len(self.tiers))):
                self._leave(i, int(before[i]), int(self._oldest[i]))
        self.clock_ms = clock_ms

    def _leave(self, number: int, since_ms: int, until_ms: int) -> None:
        """Move the cells of one tier from `since_ms` to before `until_ms` to where their time belongs now."""
        tier = self.tiers[number]
        first = since_ms // tier.pane_ms
        steps = min(until_ms // tier.pane_ms - first, tier.count)
        if steps <= 0:
            return
        # Over a jump longer than the tier, each column still holds its one old pane.
        pane = first + np.arange(steps, dtype=np.int64)
        source = tier.first + pane % tier.count
        target = self.column(pane * tier.pane_ms)
        for plane, whole in zip(self.planes, self.whole, strict=True):
            used = np.flatnonzero((plane[source] != 0).any(axis=1))
            for i in used.tolist():
                cells = plane[source[i]]
                whole[number] -= cells
                if target[i] >= 0:
                    plane[target[i]] += cells
                    whole[self._tier_of[target[i]]] += cells
            plane[source] = 0

    def spans(self, edges: Sequence[tuple[int, int | None]]) -> Spans:
        """What is to be added up for spans of event time, from a pane's edge to before another (None: without end)."""
        whole: dict[int, list[int]] = {}
        plus: dict[int, list[I64]] = {}
        minus: dict[int, list[I64]] = {}
        for number, (start_ms, end_ms) in enumerate(edges):
            for i in range(len(self.tiers)):
                inside = self._panes_of(i, start_ms, end_ms)
                outside = self._panes_of(i, None, start_ms) if end_ms is None else None
                if outside is not None and len(outside) < len(inside):
                    whole.setdefault(number, []).append(i)
                    minus.setdefault(number, []).append(outside)
                else:
                    plus.setdefault(number, []).append(inside)
        return Spans(len(edges), whole, Parts.joined(plus), Parts.joined(minus))

    def _panes_of(self, number: int, start_ms: int | None, end_ms: int | None) -> I64:
        """Columns of a tier's panes from `start_ms` to before `end_ms`, edges of panes; None: all there are."""
        tier, oldest = self.tiers[number], int(self._oldest[number])
        # Columns are a ring: panes beyond it lie further ahead than any event may be.
        newer_edge = (oldest // tier.pane_ms + tier.count) * tier.pane_ms
        if number:
            newer_edge = min(newer_edge, int(self._oldest[number - 1]))
        first = oldest if start_ms is None else max(start_ms, oldest)
        last = newer_edge if end_ms is None else min(end_ms, newer_edge)
        panes = np.arange(first // tier.pane_ms, -(-last // tier.pane_ms), dtype=np.int64)
        return tier.first + panes % tier.count

    def sums(self, measure: int, spans: Spans, rows: int) -> Plane:
        """Sums of a measure over spans: (spans, rows), the first rows of the cells."""
        plane, whole = self.planes[measure], self.whole[measure]
        sums = np.zeros((spans.count, rows), whole.dtype)
        for number, tiers in spans.whole.items():
            sums[number] = whole[tiers, :rows].sum(axis=0)
        for parts, add in ((spans.plus, np.add), (spans.minus, np.subtract)):
            if parts.of.size:
                cells = plane[parts.columns, :rows]
                of_each = np.add.reduceat(cells, parts.starts, axis=0, dtype=sums.dtype)
                sums[parts.of] = add(sums[parts.of], of_each)
        return sums
