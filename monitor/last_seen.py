"""The last-seen rule, for visitors and for sessions alike (design, counting rules 1-3).

Each is counted once: in the pane in which he was last seen, under the segment values of his latest event that carries
them; per goal once more, in the pane of his latest conversion. When an event moves him, the old cells lose one and the
new ones gain one. All of it is "the later wins", so the order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.groups import Groups, Latest
from monitor.index import U64
from monitor.panes import Panes
from monitor.segments import Segments, cells_of
from monitor.table import PLAIN, Column, Table

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
U16 = npt.NDArray[np.uint16]
Rows = npt.NDArray[np.intp]
#: Event time of what never happened.
NEVER = -(1 << 62)
#: In place of how long ago a value was carried: never.
NOT_CARRIED = -1
#: The longest lag, 24 days; one that is longer is as behind whatever still comes, as no event is so late.
_LONGEST_AGO = (1 << 31) - 1
#: Bits for the rank of a value beside its time in one comparable number.
_RANK_BITS = 16
_RANKS = (1 << _RANK_BITS) - 1


def _ago(last: I64, at: I64) -> I64:
    """How long before `last` that was, as a column `lag` has it."""
    ago: I64 = np.minimum(last - at, _LONGEST_AGO)
    return ago


class Touched(NamedTuple):
    """What became of the visitors (sessions) of a batch, in the order of its groups."""

    rows: Rows
    """Their rows."""
    last: I64
    """When they were last seen before the batch."""
    held: U16
    """(dimensions, groups) numbers of their segment values before the batch."""
    held_lag: I32
    """(dimensions, groups) how long before `last` the events were that carried these, or `NOT_CARRIED`."""
    seg: U16
    """(dimensions, groups) numbers of their segment values after the batch."""


class LastSeen:
    """Visitors (or sessions) of a partition: one row each, and their places in the cells.

    Columns: `last` event time last seen; `seg` number of the segment value per dimension and `lag` how long before
    `last` (ms) the event was that carried it: mostly 0; `conv` event time of the latest conversion per goal.
    """

    def __init__(
        self,
        panes: Panes,
        segments: Sequence[Segments],
        goals: Sequence[str],
        retention_ms: int,
        more_columns: Mapping[str, Column] | None = None,
    ) -> None:
        self._panes = panes
        self._segments = segments
        self._retention_ms = retention_ms
        self.seen = panes.add_measure(np.int32)
        self.converted = [panes.add_measure(np.int32) for _ in goals]
        names = tuple(s.dimension.name for s in segments)
        self.table = Table(
            {
                "last": ("i8", PLAIN, NEVER),
                "seg": ("u2", names, 0),
                "lag": ("i4", names, NOT_CARRIED),
                "conv": ("i8", tuple(goals), NEVER),
                **(more_columns or {}),
            },
            aged_by="last",
            relative=("lag",),
        )

    def touch(
        self,
        groups: Groups,
        times: I64,
        numbers: I64,
        hit_at: I64,
        hit_goal: I64,
        inherited: Callable[[Rows], U16] | None = None,
    ) -> Touched:
        """Count a batch of events.

        Args:
            groups: The events, grouped by the key of their visitor (session).
            times: Event time of each event.
            numbers: (dimensions, events) number of the value that each carries, -1 for none.
            hit_at: Positions of the events that count as conversions.
            hit_goal: The goal of each of them.
            inherited: Says what groups that are new start with, (dimensions, groups); None: `unknown`.
        """
        table = self.table
        rows = table.rows_of(groups.keys).astype(np.intp)
        last_a, seg_a, lag_a, conv_a = (table.read(name, rows) for name in ("last", "seg", "lag", "conv"))
        held, held_lag, conv = seg_a, lag_a, conv_a.copy()
        # Never seen, or so long ago that he counts as new: the first of these events shows it, as a later one that
        # returned after so long would begin a round of its own.
        fresh = np.flatnonzero(times[groups.order[groups.starts]] - last_a > self._retention_ms)
        if fresh.size:
            held, held_lag = seg_a.copy(), lag_a.copy()
            held[:, fresh] = 0 if inherited is None else inherited(fresh)
            held_lag[:, fresh] = NOT_CARRIED
            conv[:, fresh] = NEVER
        seg, lag = np.empty_like(held), np.empty_like(held_lag)
        latest = groups.latest(times)
        last = np.maximum(last_a, latest.time)
        behind = np.flatnonzero(latest.time <= last_a)
        for d, carried in enumerate(numbers):
            had = held[d], held_lag[d]
            if carried.min() >= 0:
                seg[d], lag[d] = self._carried_by_all(d, latest, carried, last, behind, had)
            else:
                seg[d], lag[d] = self._carried_by_some(d, groups, times, carried, (last_a, last), had)
        if len(hit_at):
            cell = hit_goal * len(rows) + groups.of_event[hit_at]
            np.maximum.at(conv.reshape(-1), cell, times[hit_at])

        self._move((last_a, seg_a, conv_a), (last, seg, conv))
        table.write("last", rows, last)
        table.change("seg", rows, seg_a, seg)
        table.change("lag", rows, lag_a, lag)
        table.change("conv", rows, conv_a, conv)
        table.marked[rows] = True
        return Touched(rows, last_a, held, held_lag, seg)

    def as_of(self, groups: Groups, touched: Touched, times: I64, numbers: I64, events: Rows) -> U16:
        """Values of visitors just after some of their events, in order of arrival; of dimensions that these lack.

        Returns:
            (dimensions, events); where an event carries the dimension itself, what it carries.
        """
        found = numbers[:, events].astype(np.uint16)
        for d, segments in enumerate(self._segments):
            lacking = np.flatnonzero(numbers[d][events] < 0)
            if not lacking.size:
                continue
            # All that happened in this batch to whom these events belong to, each after the other.
            wanted = np.zeros(len(groups.keys), bool)
            wanted[groups.of_event[events[lacking]]] = True
            happened = groups.order[wanted[groups.of_event[groups.order]]]
            who = groups.of_event[happened]
            carried = numbers[d][happened]
            key = np.where(carried >= 0, times[happened] << _RANK_BITS | segments.order[carried], -1)
            begins = np.flatnonzero(np.diff(who, prepend=-1))
            held = self._key(d, touched.last, touched.held_lag[d], touched.held[d])
            key[begins] = np.maximum(key[begins], held[who[begins]])
            # The greatest so far: of small numbers in the same order, set apart by visitor.
            distinct, small = np.unique(key, return_inverse=True)
            apart = who * len(distinct)
            newest = distinct[np.maximum.accumulate(small + apart) - apart]
            value = segments.by_order[np.maximum(newest, 0) & _RANKS]
            after = np.zeros(len(times), np.uint16)
            after[happened] = np.where(newest < 0, touched.held[d][who], value)
            found[d][lacking] = after[events[lacking]]
        return found

    def _key(self, d: int, last: I64, lag: I32, seg: U16) -> I64:
        """Held values as one number each: the later wins, then the greater; -1 for what was never carried."""
        rank = self._segments[d].order[seg]
        key: I64 = np.where(lag == NOT_CARRIED, -1, (last - lag) << _RANK_BITS | rank)
        return key

    def _carried_by_all(
        self, d: int, latest: Latest, carried: I64, last: I64, behind: Rows, held: tuple[U16, I32]
    ) -> tuple[I64, I32]:
        """Values and lags now of a dimension that every event carries: the latest wins, then the greater value.

        `last` is when each was last seen now, `held` what they had; of those `behind` no event is later than before.
        """
        segments = self._segments[d]
        values = carried[latest.events]
        if len(values) > len(last):
            values = segments.by_order[np.maximum.reduceat(segments.order[values], latest.starts)]
        lag = np.zeros(len(last), np.int32)
        was, ago = (column[behind] for column in held)
        now, now_ago = values[behind], last[behind] - latest.time[behind]
        greater = segments.order[now] > segments.order[was]
        wins = (ago == NOT_CARRIED) | (now_ago < ago) | ((now_ago == ago) & greater)
        values[behind] = np.where(wins, now, was)
        lag[behind] = np.where(wins, now_ago, ago)
        return values, lag

    def _carried_by_some(
        self, d: int, groups: Groups, times: I64, carried: I64, last: tuple[I64, I64], held: tuple[U16, I32]
    ) -> tuple[I64, I64]:
        """The same for one that not every event carries; `last` is when each was last seen before and now."""
        segments = self._segments[d]
        seg, lag = held
        key = np.where(carried >= 0, times << _RANK_BITS | segments.order[carried], -1)
        newest = groups.largest(key)
        was = self._key(d, last[0], lag, seg)
        values = np.where(newest > was, segments.by_order[np.maximum(newest, 0) & _RANKS], seg)
        newest = np.maximum(newest, was)
        return values, np.where(newest < 0, NOT_CARRIED, _ago(last[1], newest >> _RANK_BITS))

    def _move(self, before: tuple[I64, U16, I64], after: tuple[I64, U16, I64]) -> None:
        (last_a, seg_a, conv_a), (last_b, seg_b, conv_b) = before, after
        segment_moved = (seg_a != seg_b).any(axis=0)
        self._place(self.seen, (last_a, last_b), (seg_a, seg_b), segment_moved)
        for g, measure in enumerate(self.converted):
            touched = np.flatnonzero((conv_a[g] != conv_b[g]) | (segment_moved & (conv_b[g] != NEVER)))
            if touched.size:
                times = conv_a[g].take(touched), conv_b[g].take(touched)
                seg = seg_a.take(touched, axis=1), seg_b.take(touched, axis=1)
                self._place(measure, times, seg, segment_moved.take(touched))

    def _place(
        self,
        measure: int,
        times: tuple[I64, I64],
        seg: tuple[U16, U16],
        segment_moved: npt.NDArray[np.bool_],
    ) -> None:
        """Take each from the cells of one time and segment to those of another, (before, after)."""
        columns = [self._panes.column(time) for time in times]
        moved = np.flatnonzero((columns[0] != columns[1]) | segment_moved)
        if len(moved) < len(segment_moved):
            columns = [column.take(moved) for column in columns]
            seg = seg[0].take(moved, axis=1), seg[1].take(moved, axis=1)
        cells = cells_of(self._segments, seg[0])
        self._panes.add(measure, columns[0], cells, -1)
        for row, segments, was, now in zip(cells[1:], self._segments, *seg, strict=True):
            if (was != now).any():
                segments.row.take(now, out=row, mode="clip")
        self._panes.add(measure, columns[1], cells, 1)

    def place_all(self) -> None:
        """Put every row into the (empty) cells: after a restore."""
        n, columns = self.table.size, self.table.columns
        last, seg, conv = columns["last"][:n], columns["seg"][:, :n], columns["conv"][:, :n]
        nowhere = np.full(n, NEVER, np.int64)
        self._move((nowhere, seg, np.full((len(self.converted), n), NEVER, np.int64)), (last, seg, conv))

    def merge(self, source: U64, target: U64) -> None:
        """Make each source one with its target: two gap sessions that a late event has joined."""
        rows_s, rows_t = self.table.find(source), self.table.find(target)
        for row_s, row_t in zip(rows_s.tolist(), rows_t.tolist(), strict=True):
            if row_s < 0 or row_t < 0:
                continue
            columns, pair = self.table.columns, np.array([row_s, row_t])
            last, seg, lag = columns["last"][pair], columns["seg"][:, pair], columns["lag"][:, pair]
            conv = columns["conv"][:, pair]
            before = (last, seg, conv)
            at = np.where(lag == NOT_CARRIED, NEVER, last - lag)
            merged = seg.copy()
            for d in range(len(self._segments)):
                key = self._key(d, last, lag[d], seg[d])
                if key[0] > key[1]:
                    merged[d][1], at[d][1] = seg[d][0], at[d][0]
            last = np.array([NEVER, last.max()])
            conv = np.stack([np.full(len(conv), NEVER, np.int64), conv.max(axis=1)], axis=1)
            self._move(before, (last, merged, conv))
            columns["last"][pair] = last
            columns["seg"][:, row_t] = merged[:, 1]
            columns["lag"][:, row_s] = NOT_CARRIED
            columns["lag"][:, row_t] = np.where(at[:, 1] == NEVER, NOT_CARRIED, _ago(last[1], at[:, 1]))
            columns["conv"][:, pair] = conv
            self.table.marked[pair] = True

    def forget(self, before_ms: int) -> None:
        """Drop rows last seen before that event time, once there are many."""
        table = self.table
        wanted = table.columns["last"][: table.size] >= before_ms
        dead = table.size - int(np.count_nonzero(wanted))
        if dead > 4_096 and dead * 4 > table.size:
            table.keep(wanted)

    def limit(self, most: int, before_ms: int) -> int:
        """Forget the longest unseen if there are more than `most` rows, and take them out of the cells.

        Args:
            most: Rows allowed.
            before_ms: Event time before which nothing is in any window.

        Returns:
            How many were still in a window: so much too low is the longest one now.
        """
        return self.table.limit(most, before_ms, self._take_out)

    def _take_out(self, rows: Rows) -> None:
        last, seg, conv = (self.table.read(name, rows) for name in ("last", "seg", "conv"))
        self._move((last, seg, conv), (np.full_like(last, NEVER), seg, np.full_like(conv, NEVER)))
