"""Which events count: not repeats of an event id, and not those behind the watermark by more than the lateness."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from monitor.duplicates import Remembered
from monitor.groups import Groups
from monitor.index import U64
from monitor.rules import Rules

I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_BEGINNING = -(1 << 62)


class Admission:
    """Watermarks and remembered event ids of one partition.

    Events that were sent on keyed by visitor come from several partitions of the publishers' topic, each in its own
    order and perhaps far apart while a backlog is read: what is late is judged against the watermark of its own source.

    Attributes:
        watermarks: Source → latest event time counted from it; a partition that publishers write to has source 0 only.
    """

    def __init__(self, rules: Rules) -> None:
        self._lateness_ms = rules.allowed_lateness_ms
        self._wall = rules.clock == "wall"
        self.event_ids = Remembered(rules.dedupe_window_ms)
        self.watermarks: dict[int, int] = {}

    @property
    def watermark_ms(self) -> int | None:
        """Latest event time counted."""
        return max(self.watermarks.values(), default=None)

    @property
    def lowest_ms(self) -> int | None:
        """The watermark of the source that is furthest behind."""
        return min(self.watermarks.values(), default=None)

    def admit(
        self, time: I64, event_id: U64, now_ms: int, source: I64 | None = None
    ) -> tuple[Bools, int, int]:
        """Which events of a batch count; how many are repeats, how many late. The counted ones are remembered."""
        if source is None:
            source = np.zeros(len(time), np.int64)
        with_id = np.flatnonzero(event_id)
        repeat = np.zeros(len(time), bool)
        ids, times = event_id[with_id], time[with_id]
        if with_id.size:
            groups = Groups(ids)
            first, which = groups.order[groups.starts], groups.of_event
            if len(first) < len(ids):
                origins = source[with_id]
                if (times != times[first][which]).any() or (origins != origins[first][which]).any():
                    return self._one_by_one(time, event_id, now_ms, source)
                repeat[with_id] = first[which] != np.arange(len(ids))
            rows = self.event_ids.find(ids)
            repeat[with_id] |= self.event_ids.repeats(rows, times)
        late = np.zeros(len(time), bool)
        for origin in np.unique(source).tolist():
            mine = np.flatnonzero(source == origin)
            start = self.watermarks.get(origin, _BEGINNING)
            reached = np.maximum.accumulate(np.where(repeat[mine], start, time[mine]))
            before = np.maximum(np.concatenate([[start], reached[:-1]]), start)
            if self._wall:
                before = np.minimum(before, now_ms)
            late[mine] = ~repeat[mine] & (time[mine] < before - self._lateness_ms)
            counted = time[mine][~(repeat[mine] | late[mine])]
            if counted.size:
                self.watermarks[origin] = max(start, int(counted.max()))
        if with_id.size and len(first) < len(ids):
            # What repeats a late event is late itself, as it is when it comes in another batch.
            echo = with_id[late[with_id[first]][which]]
            repeat[echo], late[echo] = False, True
        admitted = ~(repeat | late)
        if with_id.size:
            new = admitted[with_id]
            self.event_ids.remember(ids[new], rows[new], times[new])
        return admitted, int(np.count_nonzero(repeat)), int(np.count_nonzero(late))

    def _one_by_one(self, time: I64, event_id: U64, now_ms: int, source: I64) -> tuple[Bools, int, int]:
        """The same rule event by event: for batches that hold one id with different times."""
        admitted = np.zeros(len(time), bool)
        repeats = late = 0
        for i, origin in enumerate(source.tolist()):
            here, one = time[i : i + 1], event_id[i : i + 1]
            row = self.event_ids.find(one)
            if one[0] and self.event_ids.repeats(row, here)[0]:
                repeats += 1
                continue
            watermark = self.watermarks.get(origin, _BEGINNING)
            reached = min(watermark, now_ms) if self._wall else watermark
            if here[0] < reached - self._lateness_ms:
                late += 1
                continue
            admitted[i] = True
            self.watermarks[origin] = max(watermark, int(here[0]))
            if one[0]:
                self.event_ids.remember(one, row, here)
        return admitted, repeats, late
