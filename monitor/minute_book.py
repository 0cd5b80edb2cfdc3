"""Stage two's minutes: what every partition told of a minute, until it can be closed and judged.

A minute is closed when event time has passed it, and the allowed lateness after it, on every partition; minutes are
closed in order and none is left out. A partition that has nothing to read does not hold the others back: its worker
says how far event time is all the same (`passed_ms`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.minutes import MINUTE_MS, Told
from monitor.snapshot import ALL

#: (dimension, value); the whole is (`all`, `all`).
Segment = tuple[str, str]
#: Segment → visitors, then conversions of each goal.
Closed = dict[Segment, npt.NDArray[np.int64]]


@dataclass
class _Partition:
    passed_ms: int
    minutes: dict[int, Closed]


class MinuteBook:
    """Minutes that are not closed yet.

    Attributes:
        closed: The last minute (of the epoch) that was closed, or the first of all; None before that.
    """

    def __init__(self, partitions: int, measures: int, lateness_ms: int, closed: int | None = None) -> None:
        self._wanted, self._measures, self._lateness_ms = partitions, measures, lateness_ms
        self.closed = closed
        self._partitions: dict[int, _Partition] = {}

    def put(
        self,
        partition: int,
        passed_ms: int | None,
        segments: Iterable[tuple[str, list[str], list[int]]],
        minutes: Iterable[Told],
    ) -> None:
        """Take in what a partition told: absolute numbers, a later message replaces an earlier one.

        Args:
            partition: Which one.
            passed_ms: No event before this time, less the lateness, will be counted any more; None: not known.
            segments: Per dimension its name, its values, and the row of each.
            minutes: See `monitor.minutes.Told`.
        """
        mine = self._partitions.setdefault(partition, _Partition(-1, {}))
        if passed_ms is not None:
            mine.passed_ms = max(mine.passed_ms, passed_ms)
        news = [told for told in minutes if self.closed is None or told[0] > self.closed]
        if not news:
            return
        segment_of: dict[int, Segment] = {0: (ALL, ALL)}
        for name, values, rows in segments:
            segment_of.update({row: (name, value) for value, row in zip(values, rows, strict=True)})
        for minute, width, cells, numbers_told in news:
            found: Closed = {}
            for flat, number in zip(cells, numbers_told, strict=True):
                measure, row = divmod(flat, width)
                if row in segment_of:
                    numbers = found.setdefault(segment_of[row], np.zeros(self._measures, np.int64))
                    numbers[measure] += number
            mine.minutes[minute] = found

    def close(self, at_most: int = 10_000) -> Iterator[tuple[int, Closed]]:
        """The minutes that are over everywhere, in order, each with the sum over all partitions."""
        if len(self._partitions) < self._wanted:
            return
        earliest = min(p.passed_ms for p in self._partitions.values())
        if earliest < 0:
            return  # a partition that counts nothing yet may begin with any minute
        last = (earliest - self._lateness_ms) // MINUTE_MS - 1
        if self.closed is None:
            # Counting began in its middle, so it is not judged. That of a partition may still run: then it is not told.
            told = [m for p in self._partitions.values() for m in p.minutes]
            if not told:
                return
            self.closed = min(earliest // MINUTE_MS, *told)
        for minute in range(self.closed + 1, min(last, self.closed + at_most) + 1):
            total: Closed = {(ALL, ALL): np.zeros(self._measures, np.int64)}
            for p in self._partitions.values():
                for segment, numbers in p.minutes.pop(minute, {}).items():
                    total[segment] = total[segment] + numbers if segment in total else numbers
            self.closed = minute
            yield minute, total
