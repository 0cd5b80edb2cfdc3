"""Which ids were counted already: event ids for a while, transactions for the longest window.

Ids are kept as 64-bit hashes with the event time at which they were counted first. A collision would drop an event
wrongly; with ten million remembered ids the chance is one in two million per new id.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from monitor.index import I32, U64
from monitor.table import PLAIN, Table

I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Remembered:
    """Ids counted within `window_ms` of event time."""

    def __init__(self, window_ms: int) -> None:
        self.window_ms = window_ms
        self.table = Table({"at": ("i8", PLAIN, 0)}, aged_by="at")

    def find(self, keys: U64) -> I32:
        """Where each id is remembered, -1 for nowhere; good until something is remembered or forgotten."""
        return self.table.find(keys)

    def repeats(self, rows: I32, times: I64) -> Bools:
        """Which ids, given as `find` gave them, were counted within the window before this batch."""
        repeat = rows >= 0
        known = rows[repeat]
        repeat[repeat] = np.abs(times[repeat] - self.table.columns["at"][known]) <= self.window_ms
        return repeat

    def remember(self, keys: U64, rows: I32, times: I64) -> None:
        """Remember distinct ids, and `find` of them, as counted at these times."""
        rows = self.table.add(keys, rows)
        self.table.columns["at"][rows] = times
        self.table.marked[rows] = True

    def new_and_repeated(self, keys: U64, times: I64) -> Bools:
        """Which of these ids (in order of arrival) repeat one counted before; the others are remembered."""
        rows = self.find(keys)
        repeat = self.repeats(rows, times)
        fresh = np.flatnonzero(~repeat)
        first = fresh[first_of_each(keys[fresh])]
        if len(first) < len(fresh):
            again = np.setdiff1d(fresh, first)
            self.remember(keys[first], rows[first], times[first])
            repeat[again] = self.new_and_repeated(keys[again], times[again])
        else:
            self.remember(keys[fresh], rows[fresh], times[fresh])
        return repeat

    def forget(self, before_ms: int) -> None:
        """Drop what no event can repeat any more, once it is worth the work."""
        table = self.table
        wanted = table.columns["at"][: table.size] >= before_ms - self.window_ms
        if _worth(table.size, wanted):
            table.keep(wanted)

    def limit(self, most: int, before_ms: int) -> int:
        """Forget the oldest ids if there are more than `most`; how many could still have been repeated.

        Args:
            most: Ids allowed.
            before_ms: Event time before which no event is accepted any more.
        """
        return self.table.limit(most, before_ms - self.window_ms)


def _worth(size: int, wanted: Bools) -> bool:
    dead = size - int(np.count_nonzero(wanted))
    return dead > 4_096 and dead * 4 > size


def first_of_each(keys: U64) -> Bools:
    """True at the first place of each distinct key."""
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
