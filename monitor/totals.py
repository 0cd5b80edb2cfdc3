"""Adds partitions up: their window counts, moved to one event time, as one `Snapshot`.

No visitor is in two partitions, so unique visitors add up exactly. Totals stand still rather than lie: as long as a
partition is missing, of another config, or too far behind to be moved to the common time, the last complete totals stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from monitor.counts import EXACT, Amounts, Counts, decimal_of
from monitor.rules import Dimension, Rules
from monitor.segments import OTHER, UNKNOWN
from monitor.snapshot import ALL, GoalCounts, Row, Snapshot, empty_snapshot

I64 = npt.NDArray[np.int64]
#: (dimension, value); the whole is (`all`, `all`).
Segment = tuple[str, str]


class Totals:
    """The latest counts of every partition, and the snapshot they add up to."""

    def __init__(self, rules: Rules, partitions: int) -> None:
        self._rules = rules
        self._partitions = partitions
        self._latest: dict[int, Counts] = {}
        self._offset: dict[int, int] = {}
        self._snapshot = empty_snapshot(rules)
        self._fresh = True

    def put(self, partition: int, counts: Counts, offset: int = 0) -> bool:
        """Take over the latest counts of a partition; they replace what it said before.

        Whoever takes a partition over reads again what was counted since its last checkpoint, and what he says
        meanwhile would let the totals step back: they wait until he is as far as what is held here.

        Args:
            partition: Its number.
            counts: What it holds.
            offset: Up to where it has counted.

        Returns:
            Whether they were taken over.
        """
        held = self._latest.get(partition)
        if held is not None and offset < self._offset[partition] and self._fits(held):
            return False
        self._latest[partition], self._offset[partition] = counts, offset
        self._fresh = False
        return True

    def _fits(self, counts: Counts) -> bool:
        """Whether these are the counts of this config; else their owner will say anew in a moment."""
        rules = self._rules
        return (
            counts.windows == [w.name for w in rules.windows]
            and counts.goals == [g.name for g in rules.goals]
            and [name for name, _, _ in counts.segments] == [d.name for d in rules.dimensions]
        )

    @property
    def begun(self) -> bool:
        """Whether the totals were complete at least once: before that there is nothing to stand still at."""
        return self.snapshot().complete or self._snapshot.as_of is not None

    @property
    def at_ms(self) -> int | None:
        """The latest event time that any partition has reached; None before the first event."""
        return max((c.at_ms for c in self._latest.values() if c.at_ms is not None), default=None)

    def snapshot(self) -> Snapshot:
        """The totals; worked out when asked, and only if something changed since."""
        if not self._fresh:
            self._snapshot = self._add_up()
            self._fresh = True
        return self._snapshot

    def _add_up(self) -> Snapshot:
        at = self.at_ms
        held = Snapshot(self._snapshot.as_of, False, self._snapshot.rows)
        if len(self._latest) < self._partitions or not all(map(self._fits, self._latest.values())):
            return held
        if at is None:
            return empty_snapshot(self._rules, complete=True)
        moved = {partition: counts.at(at) for partition, counts in self._latest.items()}
        whole: dict[int, tuple[I64, list[list[Amounts]]]] = {p: m for p, m in moved.items() if m is not None}
        if len(whole) < len(moved):
            return held
        rows = self._rows(whole)
        return Snapshot(at / 1000, True, rows)

    def _rows(self, moved: Mapping[int, tuple[I64, list[list[Amounts]]]]) -> tuple[Row, ...]:
        rules = self._rules
        sums: dict[Segment, I64] = {}
        money: dict[Segment, list[dict[tuple[str, str], Decimal]]] = {}
        for partition, (cells, amounts) in moved.items():
            counts = self._latest[partition]
            segment_of: dict[int, Segment] = {0: (ALL, ALL)}
            for name, values, numbers in counts.segments:
                segment_of.update({row: (name, value) for value, row in zip(values, numbers, strict=True)})
            for row, segment in segment_of.items():
                part = cells[:, :, row]
                if segment in sums:
                    sums[segment] += part
                else:
                    sums[segment] = part.copy()
            for w, of_window in enumerate(amounts):
                for goal, currency, scale, flat, units in of_window:
                    for row, unit in zip(flat, units, strict=True):
                        by_window = money.setdefault(segment_of[row], [{} for _ in rules.windows])
                        key = (goal, currency)
                        by_window[w][key] = EXACT.add(
                            by_window[w].get(key, Decimal(0)), decimal_of(scale, unit)
                        )
        for dimension in rules.dimensions:
            _fold(dimension, self._longest(), sums, money)
        order = self._order(sums)
        return tuple(
            self._row(w, segment, sums[segment], money.get(segment))
            for w in range(len(rules.windows))
            for segment in order
        )

    def _longest(self) -> int:
        windows = self._rules.windows
        return max(range(len(windows)), key=lambda w: windows[w].length_ms)

    def _order(self, sums: Mapping[Segment, I64]) -> list[Segment]:
        """The whole first, then the values of each dimension, those with most visitors first."""
        longest = self._longest()
        order: list[Segment] = [(ALL, ALL)]
        for dimension in self._rules.dimensions:
            values = [s for s, cells in sums.items() if s[0] == dimension.name and cells.any()]
            order += sorted(values, key=lambda s: (-int(sums[s][longest, 0]), s[1]))
        return order

    def _row(
        self, w: int, segment: Segment, cells: I64, money: list[dict[tuple[str, str], Decimal]] | None
    ) -> Row:
        goals = self._rules.goals
        n = len(goals)
        numbers = cells[w].tolist()
        counts = {}
        for g, goal in enumerate(goals):
            revenue = {goal.default_currency: Decimal(0)} if goal.revenue else {}
            if money is not None and goal.revenue:
                revenue |= {
                    currency: amount for (name, currency), amount in money[w].items() if name == goal.name
                }
            counts[goal.name] = GoalCounts(
                converters=numbers[2 + g],
                conversions=numbers[2 + n + g],
                converting_sessions=numbers[2 + 2 * n + g],
                revenue=revenue,
            )
        return Row(self._rules.windows[w].name, *segment, numbers[0], numbers[1], counts)


def _fold(
    dimension: Dimension,
    longest: int,
    sums: dict[Segment, I64],
    money: dict[Segment, list[dict[tuple[str, str], Decimal]]],
) -> None:
    """Keep the configured number of values, those with most visitors; the rest goes into `other`."""
    values = [s for s in sums if s[0] == dimension.name and s[1] not in (UNKNOWN, OTHER) and sums[s].any()]
    values.sort(key=lambda s: (-int(sums[s][longest, 0]), s[1]))
    other = (dimension.name, OTHER)
    for segment in values[dimension.max_values :]:
        sums[other] = sums[other] + sums.pop(segment) if other in sums else sums.pop(segment)
        if segment in money:
            into = money.setdefault(other, [{} for _ in money[segment]])
            for w, of_window in enumerate(money.pop(segment)):
                for key, amount in of_window.items():
                    into[w][key] = EXACT.add(into[w].get(key, Decimal(0)), amount)
