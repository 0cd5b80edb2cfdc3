"""The last-seen rule, for visitors and for sessions alike (design, counting rules 1-3).

Each is counted once: in the pane in which he was last seen, under the segment values of his latest event that carries
them; per goal once more, in the pane of his latest conversion. When an event moves him, the old cells lose one and the
new ones gain one. All of it is "the later wins", so the order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from monitor.index import I32, U64
from monitor.panes import Panes
from monitor.segments import Segments
from monitor.table import PLAIN, Column, Table

I64 = npt.NDArray[np.int64]
U16 = npt.NDArray[np.uint16]
#: Event time of what never happened.
NEVER = -(1 << 62)
#: Bits for the rank of a value beside its time in one comparable number.
_RANK_BITS = 16


def order_of(keys: U64) -> npt.NDArray[np.intp]:
    """Positions of keys such that equal ones stand together, in their order of arrival; an eighth of a stable sort.

    The low bits of each key give way to its position, so that plain numbers are sorted. Two keys that are equal but for
    those bits (hashes hardly ever are) would mix: then they are sorted as they are.
    """
    low = np.uint64((1 << len(keys).bit_length()) - 1)
    places = (keys & ~low) | np.arange(len(keys), dtype=np.uint64)
    places.sort()
    order = (places & low).astype(np.intp)
    ordered = keys[order]
    near = (ordered[1:] ^ ordered[:-1]) <= low
    if (near & (ordered[1:] != ordered[:-1])).any():
        return np.argsort(keys, kind="stable")
    return order


class Groups:
    """Events of a batch grouped by key: `keys` are distinct, `of_event` names the group of each event."""

    def __init__(self, keys: U64) -> None:
        self.order = order_of(keys)
        ordered = keys[self.order]
        first = np.ones(len(keys), bool)
        first[1:] = ordered[1:] != ordered[:-1]
        self.starts = np.flatnonzero(first)
        self.keys: U64 = ordered[self.starts]
        self.of_event = np.empty(len(keys), np.intp)
        self.of_event[self.order] = np.cumsum(first) - 1

    def largest(self, values: I64) -> I64:
        """The largest value of each group."""
        result: I64 = np.maximum.reduceat(values[self.order], self.starts)
        return result


def returns(keys: U64, time: I64, after_ms: int) -> npt.NDArray[np.bool_]:
    """Which events come more than `after_ms` after all earlier-arrived events of their key."""
    groups = Groups(keys)
    ordered, group = time[groups.order], groups.of_event[groups.order]
    # Running maximum within each group: groups are set apart by more than any time.
    apart = group * (1 << 42)
    running = np.maximum.accumulate(ordered + apart) - apart
    gap = np.zeros(len(ordered), bool)
    gap[1:] = ordered[1:] - running[:-1] > after_ms
    gap[groups.starts] = False
    result = np.empty(len(ordered), bool)
    result[groups.order] = gap
    return result


class LastSeen:
    """Visitors (or sessions) of a partition: one row each, and their places in the cells.

    Columns: `last` event time last seen; `seg` number of the segment value per dimension and `seg_at` the event time
    of the event that carried it; `conv` event time of the latest conversion per goal.
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
                "seg_at": ("i8", names, NEVER),
                "conv": ("i8", tuple(goals), NEVER),
                **(more_columns or {}),
            },
            aged_by="last",
        )

    def touch(
        self,
        groups: Groups,
        times: I64,
        numbers: Sequence[I64],
        hit_at: I64,
        hit_goal: I64,
        inherited: U16 | None = None,
    ) -> tuple[I32, U16]:
        """Count a batch of events.

        Args:
            groups: The events, grouped by the key of their visitor (session).
            times: Event time of each event.
            numbers: Per dimension, the number of the value each event carries, -1 for none.
            hit_at: Positions of the events that count as conversions.
            hit_goal: The goal of each of them.
            inherited: (dimensions, groups) values that a new row starts with; None: `unknown`.

        Returns:
            The row of each group, and (dimensions, groups) the segment numbers that held before these events.
        """
        table = self.table
        rows = table.rows_of(groups.keys)
        latest = groups.largest(times)
        last, seg, seg_at, conv = (table.read(name, rows) for name in ("last", "seg", "seg_at", "conv"))
        before = (last, seg, conv)

        seg, conv = seg.copy(), conv.copy()
        # Never seen, or so long ago that he counts as new: the first of these events shows it, as a later one that
        # returned after so long would begin a round of its own.
        fresh = times[groups.order[groups.starts]] - last > self._retention_ms
        if fresh.any():
            seg[:, fresh] = 0 if inherited is None else inherited[:, fresh]
            seg_at[:, fresh] = NEVER
            conv[:, fresh] = NEVER
        held = seg.copy()
        for d, carried in enumerate(numbers):
            self._latest_value(d, groups, times, carried, seg[d], seg_at[d])
        if len(hit_at):
            cell = hit_goal * len(rows) + groups.of_event[hit_at]
            np.maximum.at(conv.reshape(-1), cell, times[hit_at])
        last = np.maximum(last, latest)

        self._move(before, (last, seg, conv))
        table.write("last", rows, last)
        table.write("seg", rows, seg)
        table.write("seg_at", rows, seg_at)
        table.write("conv", rows, conv)
        table.marked[rows] = True
        return rows, held

    def _latest_value(self, d: int, groups: Groups, times: I64, carried: I64, seg: U16, seg_at: I64) -> None:
        """Update `seg` and `seg_at` of one dimension: the latest carrying event wins, then the greater value."""
        segments = self._segments[d]
        carries = carried >= 0
        key = np.where(carries, times << _RANK_BITS | segments.order[carried], -1)
        newest = groups.largest(key)
        held = np.where(seg_at == NEVER, -1, seg_at << _RANK_BITS | segments.order[seg])
        wins = newest > held
        seg[wins] = segments.by_order[newest[wins] & ((1 << _RANK_BITS) - 1)]
        seg_at[wins] = newest[wins] >> _RANK_BITS

    def _move(self, before: tuple[I64, U16, I64], after: tuple[I64, U16, I64]) -> None:
        (last_a, seg_a, conv_a), (last_b, seg_b, conv_b) = before, after
        segment_moved = (seg_a != seg_b).any(axis=0)
        column_a, column_b = self._panes.column(last_a), self._panes.column(last_b)
        moved = (column_a != column_b) | segment_moved
        self._place(self.seen, column_a, seg_a, moved & (column_a >= 0), -1)
        self._place(self.seen, column_b, seg_b, moved & (column_b >= 0), 1)
        for g, measure in enumerate(self.converted):
            touched = np.flatnonzero((conv_a[g] != conv_b[g]) | (segment_moved & (conv_b[g] != NEVER)))
            if not touched.size:
                continue
            column_a, column_b = (
                self._panes.column(conv_a[g][touched]),
                self._panes.column(conv_b[g][touched]),
            )
            moved = (column_a != column_b) | segment_moved[touched]
            self._place(measure, column_a, seg_a[:, touched], moved & (column_a >= 0), -1)
            self._place(measure, column_b, seg_b[:, touched], moved & (column_b >= 0), 1)

    def _place(self, measure: int, column: I64, seg: U16, wanted: npt.NDArray[np.bool_], amount: int) -> None:
        chosen = column[wanted]
        if not chosen.size:
            return
        rows = [np.zeros(len(chosen), np.int64)]
        rows += [s.row[seg[d][wanted]] for d, s in enumerate(self._segments)]
        self._panes.add(measure, np.tile(chosen, len(rows)), np.concatenate(rows), amount)

    def place_all(self) -> None:
        """Put every row into the (empty) cells: after a restore."""
        n = self.table.size
        columns = self.table.columns
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
            last, seg, seg_at = columns["last"][pair], columns["seg"][:, pair], columns["seg_at"][:, pair]
            conv = columns["conv"][:, pair]
            before = (last, seg, conv)
            last = np.array([NEVER, last.max()])
            for d, segments in enumerate(self._segments):
                rank = segments.order[seg[d]]
                if (seg_at[d][0], rank[0]) > (seg_at[d][1], rank[1]) and seg_at[d][0] != NEVER:
                    columns["seg"][d, row_t] = seg[d][0]
                    columns["seg_at"][d, row_t] = seg_at[d][0]
            conv = np.stack([np.full(len(conv), NEVER, np.int64), conv.max(axis=1)], axis=1)
            self._move(before, (last, columns["seg"][:, pair], conv))
            columns["last"][pair] = last
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

    def _take_out(self, rows: npt.NDArray[np.intp]) -> None:
        last, seg, conv = (self.table.read(name, rows) for name in ("last", "seg", "conv"))
        self._move((last, seg, conv), (np.full_like(last, NEVER), seg, np.full_like(conv, NEVER)))
