"""Sessions of events that carry no session id: a visitor's events with no gap above `session_gap`.

A session is known by its visitor and its number (0, 1, …), so once its number is known it is counted like one with an
id. Events arrive in any order within the allowed lateness, which the config check keeps below the gap: a late event
can therefore only lengthen the newest session backwards, and so join it to the one before.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from monitor.batch import mix
from monitor.index import U64
from monitor.last_seen import NEVER
from monitor.table import PLAIN, Table

I64 = npt.NDArray[np.int64]
#: Keeps the numbers of gap sessions apart from hashes of session ids.
_GAP = np.uint64(0x5E55_1060_0000_0000)


def _key(visitor: U64, number: I64) -> U64:
    return mix(visitor, _GAP + number.astype(np.uint64))


class GapSessions:
    """The newest gap session of each visitor: its number, when it began and was last seen, the end of the one before."""

    def __init__(self, gap_ms: int) -> None:
        self._gap_ms = gap_ms
        self.table = Table(
            {
                "number": ("i4", PLAIN, -1),
                "start": ("i8", PLAIN, NEVER),
                "last": ("i8", PLAIN, NEVER),
                "previous": ("i8", PLAIN, NEVER),
            },
            aged_by="last",
        )

    def assign(self, visitor: U64, times: I64) -> tuple[U64, U64, U64]:
        """Session key of each event; and the keys of sessions that became one: (joined, into)."""
        order = np.lexsort((times, visitor))
        key, time = visitor[order], times[order]
        first = np.ones(len(key), bool)
        first[1:] = key[1:] != key[:-1]
        starts = np.flatnonzero(first)
        group = np.cumsum(first) - 1
        keys = key[starts]
        rows = self.table.rows_of(keys)
        c = self.table.columns
        number = c["number"][rows].astype(np.int64)
        start, last, previous = c["start"][rows], c["last"][rows], c["previous"][rows]

        # An event before the newest session's begin lengthens it backwards, perhaps to the one before.
        earlier = (time[starts] < start) & (last != NEVER)
        start = np.where(earlier, time[starts], start)
        joins = earlier & (number > 0) & (start - previous <= self._gap_ms)
        joined, into = _key(keys[joins], number[joins]), _key(keys[joins], number[joins] - 1)
        number[joins] -= 1
        start[joins] = previous[
            joins
        ]  # whatever is not after its true begin will do: no event reaches further

        before = np.where(first, NEVER, np.roll(time, 1))
        before = np.maximum(before, last[group])
        begins = time - before > self._gap_ms
        sequence = np.cumsum(begins)
        sequence -= (sequence[starts] - begins[starts])[group]
        event_number = number[group] + sequence

        begun = np.flatnonzero(begins)  # the last write of a visitor wins: his newest session
        start[group[begun]] = time[begun]
        previous[group[begun]] = before[begun]
        ends = np.append(starts[1:], len(key)) - 1
        c["number"][rows] = event_number[ends]
        c["start"][rows] = start
        c["last"][rows] = np.maximum(last, time[ends])
        c["previous"][rows] = previous
        self.table.marked[rows] = True
        result = np.empty(len(key), np.uint64)
        result[order] = _key(key, event_number)
        return result, joined, into

    def forget(self, before_ms: int) -> None:
        """Drop visitors whose newest gap session ended before that event time, once there are many."""
        table = self.table
        wanted = table.columns["last"][: table.size] >= before_ms
        dead = table.size - int(np.count_nonzero(wanted))
        if dead > 4_096 and dead * 4 > table.size:
            table.keep(wanted)
