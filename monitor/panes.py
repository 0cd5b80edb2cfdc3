"""Counts per pane: how many sit where in event time, and the sum of a sliding window.

All windows share one set of cells. Near the clock a cell is as fine as the shortest window's pane; once a cell has
left that window it is added to a coarser one, fine enough for the windows that still hold it. So an event touches one
cell per row however many windows there are, and a window is a sum over 60-400 cells when somebody asks.

A cell is addressed by (measure, time, row): the measure is what is counted (visitors, converters of a goal, …), the row
is a segment (row 0 is the whole).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.windows import Window

I64 = npt.NDArray[np.int64]
Plane = npt.NDArray[Any]

_ROWS = 16


@dataclass(frozen=True, slots=True)
class Tier:
    """Cells of one length. `first`: number of its first column; `count`: how many columns it cycles through."""

    pane_ms: int
    window: Window
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
    for i, window in enumerate(ordered):
        last = i + 1 == len(ordered)
        if not last and panes[i + 1] == panes[i]:
            continue  # the next window's tier is as fine: let it cover these ages too
        span = window.length_ms + (0 if last else panes[i + 1]) + (0 if tiers else max_ahead_ms)
        count = -(-span // panes[i]) + 3
        tiers.append(Tier(panes[i], window, first, count))
        first += count
    return tuple(tiers)


def first_pane_start(window: Window, at_ms: int) -> int:
    """Start (epoch ms) of the oldest pane that the window holds at `at_ms`."""
    return (at_ms // window.pane_ms - window.length_ms // window.pane_ms + 1) * window.pane_ms


class Panes:
    """Cells of several measures, and the event time up to which they were moved along (`clock_ms`).

    Attributes:
        planes: one array (columns + 1, rows) per measure: int32 for counts, int64 or object for amounts. The last
            column, which is also column -1, takes what belongs in none; it means nothing.
    """

    def __init__(self, windows: Sequence[Window], max_ahead_ms: int) -> None:
        self.tiers = tiers_of(windows, max_ahead_ms)
        self.columns = self.tiers[-1].first + self.tiers[-1].count
        self.rows = _ROWS
        self.planes: list[Plane] = []
        self.clock_ms: int | None = None
        # Oldest event time that each tier holds, in falling order; ages beyond the last are forgotten.
        self._oldest: I64 = np.zeros(len(self.tiers), np.int64)
        self._pane: I64 = np.array([t.pane_ms for t in self.tiers] + [1], np.int64)
        self._first: I64 = np.array([t.first for t in self.tiers] + [0], np.int64)
        self._count: I64 = np.array([t.count for t in self.tiers] + [1], np.int64)

    def add_measure(self, dtype: npt.DTypeLike) -> int:
        """Number of a new measure, all zero."""
        self.planes.append(np.zeros((self.columns + 1, self.rows), dtype))
        return len(self.planes) - 1

    def ensure_rows(self, rows: int) -> None:
        """Make room for that many rows."""
        if rows <= self.rows:
            return
        have, self.rows = self.rows, max(rows, self.rows + self.rows // 2)
        for i, plane in enumerate(self.planes):
            wider = np.zeros((self.columns + 1, self.rows), plane.dtype)
            wider[:, :have] = plane
            self.planes[i] = wider

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

    def add(self, measure: int, column: I64, rows: I64, amount: int) -> None:
        """Add `amount` to the cells of each column (n); `rows` is (n) or (of each, n)."""
        plane = self.planes[measure]
        # Of the plane's own type: with another one numpy adds forty times as slowly.
        np.add.at(plane.reshape(-1), (column * self.rows + rows).reshape(-1), plane.dtype.type(amount))

    def advance(self, clock_ms: int) -> None:
        """Move the cells along to a later event time; an earlier one changes nothing."""
        if self.clock_ms is not None and clock_ms <= self.clock_ms:
            return
        before = self._oldest.copy()
        for i, tier in enumerate(self.tiers):
            start = first_pane_start(tier.window, clock_ms)
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
        for plane in self.planes:
            used = np.flatnonzero((plane[source] != 0).any(axis=1))
            for i in used.tolist():
                if target[i] >= 0:
                    plane[target[i]] += plane[source[i]]
            plane[source] = 0

    def span_columns(self, start_ms: int, end_ms: int | None = None) -> I64:
        """The columns of all panes from `start_ms` to before `end_ms` (None: all that there are), edges of panes."""
        newer_edge = (
            self._oldest[0] + self.tiers[0].count * self.tiers[0].pane_ms if end_ms is None else end_ms
        )
        columns = []
        for i, tier in enumerate(self.tiers):
            oldest = max(start_ms, int(self._oldest[i]))
            if oldest < newer_edge:
                first, last = oldest // tier.pane_ms, -(-int(newer_edge) // tier.pane_ms)
                # Columns are a ring: panes beyond it lie further ahead than any event may be.
                held = int(self._oldest[i]) // tier.pane_ms + tier.count
                panes = np.arange(first, min(last, held), dtype=np.int64)
                columns.append(tier.first + panes % tier.count)
            newer_edge = min(newer_edge, int(self._oldest[i]))
            if newer_edge <= start_ms:
                break
        return np.concatenate(columns) if columns else np.zeros(0, np.int64)
