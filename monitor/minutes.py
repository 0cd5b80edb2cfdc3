"""Minutes of a partition for the detectors: visitors and conversions of each, per row of the cells.

Unlike the panes of a window, a minute keeps its visitors when they move on: each counts once in every minute in which
he was seen, with the segment values he had then. Minutes stay until stage two says that it has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from monitor.groups import Groups
from monitor.last_seen import Touched
from monitor.segments import Segments, cells_of
from monitor.table import Table

I64 = npt.NDArray[np.int64]
U16 = npt.NDArray[np.uint16]
MINUTE_MS = 60_000
#: Which of the latest minutes a visitor was seen in is a bit mask; later than that a minute cannot be told apart.
_REMEMBERED = 64
#: In place of the latest minute of a visitor who was seen in none.
NO_MINUTE = -(1 << 30)
#: Minutes kept for a stage two that is not there: a week. Beyond it the oldest are dropped.
KEPT = 10_080
#: Minute (of the epoch), flat cell numbers (measure × rows + row), values; and how many rows that was.
Told = tuple[int, int, list[int], list[int]]


def _then(groups: Groups, key: I64, times: I64, numbers: I64, held: U16) -> U16:
    """Segment numbers of each visitor in each of his minutes, (dimensions, pairs); pairs in the order of `key`.

    That is the value of his latest event of the batch, up to the end of the minute, that carries the dimension, else what
    he had before: as it would be if the batch ended with the minute.
    """
    order = np.lexsort((times, key))
    ordered = key[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    who = groups.of_event[order]
    first = np.searchsorted(who, who[ends])  # where the visitor's events begin
    place = np.arange(len(order))
    seg = np.empty((len(numbers), len(ends)), np.uint16)
    for d, carried in enumerate(numbers):
        there = np.maximum.accumulate(np.where(carried[order] >= 0, place, -1))[ends]
        seg[d] = np.where(there >= first, carried[order[np.maximum(there, 0)]], held[d][who[ends]])
    return seg


class Minutes:
    """Counts per minute: measure 0 is visitors, then conversions of each goal.

    Attributes:
        cells: Minute of the epoch → int32 (measures, rows).
        untold: Minutes that stage two has not been told in their present form.
    """

    def __init__(self, segments: Sequence[Segments], goals: int) -> None:
        self._segments = segments
        self._measures = 1 + goals
        self.cells: dict[int, npt.NDArray[np.int32]] = {}
        self.untold: set[int] = set()
        self.unsaved: set[int] = set()
        self.taken = -1

    def _add(self, minute: I64, measure: int, rows: npt.NDArray[np.int64], needed: int) -> None:
        """Add one to (measure, row) of each minute; `rows` is (1 + dimensions, n)."""
        if not minute.size:
            return
        order = np.argsort(minute, kind="stable")
        distinct, starts = np.unique(minute[order], return_index=True)
        for number, part in zip(distinct.tolist(), np.split(order, starts[1:]), strict=True):
            if number <= self.taken:
                continue  # stage two has judged this minute
            cells = self.cells.get(number)
            if cells is None or cells.shape[1] < needed:
                wider = np.zeros((self._measures, needed), np.int32)
                if cells is not None:
                    wider[:, : cells.shape[1]] = cells
                self.cells[number] = cells = wider
            np.add.at(cells[measure], rows[:, part].reshape(-1), np.int32(1))
            self.untold.add(number)
            self.unsaved.add(number)

    def see(
        self,
        visitors: Table,
        groups: Groups,
        touched: Touched,
        times: I64,
        needed: int,
        numbers: I64,
    ) -> None:
        """Count the visitors of a batch in the minutes of their events.

        Args:
            visitors: Their table; its columns `minute` and `seen` say in which minutes they were counted.
            groups: The events by visitor.
            touched: What became of the visitors.
            times: Event time of each event.
            needed: Rows of the cells.
            numbers: (dimensions, events) number of the value that each carries, -1 for none.
        """
        base = int(times.min()) // MINUTE_MS
        span = int(times.max()) // MINUTE_MS - base + 1
        if span == 1:
            n = len(touched.rows)
            self._see(visitors, touched.rows, np.arange(n), np.full(n, base, np.int64), touched.seg, needed)
            return
        key = groups.of_event * span + (times // MINUTE_MS - base)
        distinct = np.unique(key)
        who, when = distinct // span, distinct % span + base
        seg = _then(groups, key, times, numbers, touched.held)
        if span <= _REMEMBERED:
            self._see(visitors, touched.rows, who, when, seg, needed)
            return
        step = (when - base) // _REMEMBERED  # what a visitor's row remembers reaches no further
        for number in np.unique(step).tolist():
            part = np.flatnonzero(step == number)
            self._see(visitors, touched.rows, who[part], when[part], seg.take(part, axis=1), needed)

    def _see(
        self,
        visitors: Table,
        rows: npt.NDArray[np.intp],
        who: npt.NDArray[np.intp],
        when: I64,
        seg: U16,
        needed: int,
    ) -> None:
        """Count pairs of a visitor (position in `rows`) and a minute that were not counted yet."""
        latest, seen = visitors.read("minute", rows), visitors.read("seen", rows)
        newest = latest.copy()
        np.maximum.at(newest, who, when.astype(np.int32))
        shift = np.minimum(newest - latest, _REMEMBERED).astype(np.uint64)
        seen = np.where(
            shift < _REMEMBERED, seen << np.minimum(shift, np.uint64(_REMEMBERED - 1)), np.uint64(0)
        )
        back = newest[who] - when
        bit = np.uint64(1) << np.minimum(back, _REMEMBERED - 1).astype(np.uint64)
        new = np.flatnonzero((back < _REMEMBERED) & ((seen[who] & bit) == 0))
        np.bitwise_or.at(seen, who[new], bit[new])
        visitors.write("minute", rows, newest)
        visitors.write("seen", rows, seen)
        self._add(when[new], 0, cells_of(self._segments, seg.take(new, axis=1)), needed)

    def convert(self, times: I64, goal: int, rows: npt.NDArray[np.int64], needed: int) -> None:
        """Count conversions of a goal in the minutes of their events; `rows` is (1 + dimensions, n)."""
        self._add(times // MINUTE_MS, 1 + goal, rows, needed)

    def forget(self, through: int) -> None:
        """Drop minutes that stage two has, up to and with this one, and what is over a week's worth."""
        self.taken = max(self.taken, through)
        dropped = [m for m in self.cells if m <= through]
        dropped += sorted(set(self.cells) - set(dropped))[: max(0, len(self.cells) - len(dropped) - KEPT)]
        for minute in dropped:
            del self.cells[minute]
            self.untold.discard(minute)
            self.unsaved.discard(minute)

    def tell_again(self) -> None:
        """All minutes are news again: somebody else listens, or a message was lost."""
        self.untold = set(self.cells)

    def packed(self, minutes: Iterable[int]) -> list[Told]:
        """These minutes, sparse."""
        told = []
        for minute in sorted(minutes):
            flat = self.cells[minute].reshape(-1)
            where = np.flatnonzero(flat)
            told.append((minute, self.cells[minute].shape[1], where.tolist(), flat[where].tolist()))
        return told

    def restore(
        self, told: Iterable[Told], row_now: dict[int, int], needed: int, goals: Sequence[int | None]
    ) -> None:
        """Put packed minutes back; rows and goals are translated, those that are gone are left out."""
        for minute, width, cells, values in told:
            array = np.zeros((self._measures, needed), np.int32)
            for flat, value in zip(cells, values, strict=True):
                measure, row = divmod(flat, width)
                goal = None if measure == 0 or measure > len(goals) else goals[measure - 1]
                if row in row_now and (measure == 0 or goal is not None):
                    array[0 if measure == 0 else 1 + int(goal or 0), row_now[row]] += value
            self.cells[minute] = array
