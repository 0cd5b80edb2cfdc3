"""A partition's state and what an event does to it (design, counting rules).

`apply` takes a batch in order of arrival, `evaluate` says what the windows hold, `checkpoint` what changed. The result
depends on the events alone: not on how they were cut into batches, nor (within the allowed lateness) on their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from monitor.admission import Admission
from monitor.batch import Batch, BatchReader, EventLike, Reading, mix, text_reader
from monitor.bounds import SESSIONS_PER_VISITOR, Bounds
from monitor.counts import Counts, evaluate
from monitor.duplicates import Remembered
from monitor.groups import Groups, returns
from monitor.last_seen import LastSeen
from monitor.minutes import NO_MINUTE, Minutes
from monitor.panes import Panes
from monitor.revenue import Revenue, amount_of
from monitor.rules import Rules
from monitor.segments import OTHER, UNKNOWN, Segments, cells_of
from monitor.sessions import GapSessions
from monitor.table import PLAIN, Column

I64 = npt.NDArray[np.int64]
U16 = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a batch: numbers of events, and the event times (epoch ms) of those counted."""

    counted: int = 0
    duplicates: int = 0
    late: int = 0
    repeated_transactions: int = 0
    times: I64 = field(default_factory=lambda: np.zeros(0, np.int64))


class Shard:
    """The visitors, sessions, sums and remembered ids of one partition."""

    def __init__(self, rules: Rules, salt: bytes = b"") -> None:
        self.rules = rules
        self._revenue_readers = [text_reader(g.revenue) if g.revenue else None for g in rules.goals]
        goals = [g.name for g in rules.goals]
        self.panes = Panes(rules.windows, rules.max_in_future_ms)
        self.segments = [Segments(d) for d in rules.dimensions]
        self._reader = BatchReader(rules.goals, self.segments, salt)
        self.next_row = 1  # row 0 of the cells is the whole
        for segments in self.segments:
            self.next_row = segments.restore([UNKNOWN, OTHER], self.next_row)
        by_minute: dict[str, Column] = {"minute": ("i4", PLAIN, NO_MINUTE), "seen": ("u8", PLAIN, 0)}
        self.visitors = LastSeen(self.panes, self.segments, goals, rules.longest_window_ms, by_minute)
        self.sessions = LastSeen(self.panes, self.segments, goals, rules.longest_window_ms)
        self.conversions = [self.panes.add_measure(np.int32) for _ in goals]
        self.revenue = Revenue(self.panes)
        self.minutes = Minutes(self.segments, len(goals))
        self.gap_sessions = GapSessions(rules.session_gap_ms)
        self.admission = Admission(rules)
        self.transactions = Remembered(rules.longest_window_ms)
        self.panes.ensure_rows(self.next_row)

    @property
    def watermark_ms(self) -> int | None:
        """Latest event time counted; None before the first event."""
        return self.admission.watermark_ms

    def apply(
        self, events: Sequence[EventLike], now_ms: int, sources: Sequence[int] | None = None
    ) -> Applied:
        """Count a batch in order of arrival.

        Args:
            events: Decoded events; `timestamp` is epoch ms.
            now_ms: The wall clock. Under `clock: wall` event time cannot run ahead of it.
            sources: Where each event comes from, if several ordered streams are mixed here (see `Admission`).
        """
        reading = self.begin()
        reading.add(events)
        return self.count(reading, now_ms, sources)

    def begin(self) -> Reading:
        """A batch to which events are added a few hundred at a time, to be counted as one; no two at a time."""
        return self._reader.begin()

    def count(self, reading: Reading, now_ms: int, sources: Sequence[int] | None = None) -> Applied:
        """Count what was read; `apply` says what the arguments are."""
        if not reading.size:
            return Applied()
        batch = reading.batch()
        admitted, duplicates, late = self.admission.admit(
            batch.time, batch.event_id, now_ms, None if sources is None else np.array(sources, np.int64)
        )
        if not admitted.all():
            batch = batch.take(admitted)
        for segments, carried in zip(self.segments, batch.numbers, strict=True):
            self.next_row = segments.settle(carried, self.next_row)
        if not len(batch.time):
            return Applied(duplicates=duplicates, late=late)
        self.panes.ensure_rows(self.next_row)
        self._advance(now_ms)
        batch, repeated = self._without_repeated_transactions(batch)
        without = np.flatnonzero(batch.session == 0)
        if without.size:
            keys, joined, into = self.gap_sessions.assign(batch.visitor[without], batch.time[without])
            self.sessions.merge(joined, into)
            batch.session[without] = keys
        for part in self._rounds(batch):
            self._count(batch if part is None else batch.take(part))
        return Applied(len(batch.time), duplicates, late, repeated, batch.time)

    def _advance(self, now_ms: int) -> None:
        watermark = self.admission.watermark_ms
        if watermark is not None:
            self.panes.advance(min(watermark, now_ms) if self.rules.clock == "wall" else watermark)

    def _without_repeated_transactions(self, batch: Batch) -> tuple[Batch, int]:
        """The batch without the hits of transactions that were counted already; how many these were."""
        ids = [event.transaction_id for event in batch.hit_events]
        having = np.flatnonzero([i is not None for i in ids])
        if not having.size:
            return batch, 0
        goal, time = batch.hit_goal[having], batch.time[batch.hit_at[having]]
        keys = mix(self._reader.hasher.ids([ids[i] for i in having.tolist()]), goal.astype(np.uint64))
        repeat = self.transactions.new_and_repeated(keys, time)
        if not repeat.any():
            return batch, 0
        keep = np.ones(len(ids), bool)
        keep[having[repeat]] = False
        return batch.with_hits(keep), int(np.count_nonzero(repeat))

    def _rounds(self, batch: Batch) -> list[npt.NDArray[np.bool_] | None]:
        """Cut the batch where a visitor or a session returns after so long that it counts as new; None = all of it.

        Events of different visitors do not see each other, so round r takes the r-th piece of every visitor. Hardly any
        batch needs a cut.
        """
        longest = self.rules.longest_window_ms
        if int(batch.time.max()) - int(batch.time.min()) <= longest:
            return [None]
        cut = returns(batch.session, batch.time, longest) | returns(batch.visitor, batch.time, longest)
        if not cut.any():
            return [None]
        groups = Groups(batch.visitor)
        piece = np.cumsum(cut[groups.order], dtype=np.int64)
        piece -= piece[groups.starts][groups.of_event[groups.order]]
        rounds = np.empty(len(cut), np.int64)
        rounds[groups.order] = piece
        return [rounds == r for r in np.unique(rounds).tolist()]

    def _count(self, batch: Batch) -> None:
        """Count one round: visitors, their sessions, conversions and revenue."""
        time, numbers, hit_at, hit_goal = batch.time, batch.numbers, batch.hit_at, batch.hit_goal
        by_visitor, by_session = Groups(batch.visitor), Groups(batch.session)
        visitors = self.visitors.touch(by_visitor, time, numbers, hit_at, hit_goal)
        self.minutes.see(self.visitors.table, by_visitor, visitors, time, self.next_row, numbers)

        def as_of(events: npt.NDArray[np.intp]) -> U16:
            return self.visitors.as_of(by_visitor, visitors, time, numbers, events)

        begins = by_session.order[by_session.starts]
        self.sessions.touch(by_session, time, numbers, hit_at, hit_goal, lambda new: as_of(begins[new]))
        if len(hit_at):
            self._conversions(batch.hit_events, time[hit_at], hit_goal, as_of(hit_at))

    def _conversions(self, events: Sequence[EventLike], time: I64, hit_goal: I64, segment: U16) -> None:
        column = self.panes.column(time)
        rows = cells_of(self.segments, segment)
        inside = column >= 0
        for g, goal in enumerate(self.rules.goals):
            self.minutes.convert(time[hit_goal == g], g, rows[:, hit_goal == g], self.next_row)
            chosen = np.flatnonzero((hit_goal == g) & inside)
            if not chosen.size:
                continue
            self.panes.add(self.conversions[g], column[chosen], rows[:, chosen], 1)
            read = self._revenue_readers[g]
            if read is None:
                continue
            by_currency: dict[str, tuple[list[Decimal], list[int]]] = {}
            for i in chosen.tolist():
                event = events[i]
                amount = amount_of(event.value if goal.revenue == "value" else read([event])[0])
                if amount is not None:
                    currency = event.currency or goal.default_currency
                    amounts, at = by_currency.setdefault(currency, ([], []))
                    amounts.append(amount)
                    at.append(i)
            for currency, (amounts, at) in by_currency.items():
                self.revenue.add(goal.name, currency, amounts, column[at], rows[:, at])

    def evaluate(self, at_ms: int | None = None) -> Counts:
        """What every window holds at an event time not before this partition's own; default: that."""
        return evaluate(self, at_ms)

    def forget(self) -> None:
        """Free what no window and no accepted event can reach any more."""
        lowest = self.admission.lowest_ms
        if lowest is None:
            return
        reach = lowest - self.rules.allowed_lateness_ms
        for people in (self.visitors, self.sessions):
            people.forget(reach - self.rules.longest_window_ms)
        self.gap_sessions.forget(reach - max(self.rules.longest_window_ms, self.rules.session_gap_ms))
        self.admission.event_ids.forget(reach)
        self.transactions.forget(reach)

    def limit(self, bounds: Bounds) -> tuple[int, int]:
        """Forget what is beyond the bounds, the longest unseen first; nothing is done while all is within.

        Who is forgotten leaves the cells as well, since after a restore these are made from the rows.

        Returns:
            How many visitors and sessions were forgotten while still in a window, and how many ids that could
            still have been repeated.
        """
        lowest = self.admission.lowest_ms
        if lowest is None:
            return 0, 0
        reach = lowest - self.rules.allowed_lateness_ms
        longest = self.rules.longest_window_ms
        people = self.visitors.limit(bounds.visitors, reach - longest)
        people += self.sessions.limit(SESSIONS_PER_VISITOR * bounds.visitors, reach - longest)
        self.gap_sessions.table.limit(bounds.visitors, reach - max(longest, self.rules.session_gap_ms))
        ids = self.admission.event_ids.limit(bounds.ids, reach) + self.transactions.limit(bounds.ids, reach)
        return people, ids

    @property
    def nbytes(self) -> int:
        """Memory held by the state, in bytes."""
        tables = (
            self.visitors,
            self.sessions,
            self.gap_sessions,
            self.admission.event_ids,
            self.transactions,
        )
        return sum(t.table.nbytes for t in tables) + sum(
            array.nbytes for array in (*self.panes.planes, *self.panes.whole)
        )
