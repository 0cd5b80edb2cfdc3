"""Adds partitions up: their window counts, moved to one event time, as one `Snapshot`.

No visitor is in two partitions, so unique visitors add up exactly. Totals stand still rather than lie: as long as a
partition is missing, of another config, or too far behind to be moved to the common time, the last complete totals stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from monitor.counts import EXACT, Amounts, Counts
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
        # Dimension → value → its place in the sums; 0 is the whole.
        self._place = {d.name: {OTHER: 1 + i} for i, d in enumerate(rules.dimensions)}
        self._known = 1 + len(rules.dimensions)
        self._places: dict[int, tuple[list[tuple[str, list[str], list[int]]], npt.NDArray[np.intp]]] = {}
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
        """The rows of all windows, the whole first, then the values of each dimension."""
        places = {partition: self._places_of(partition) for partition in moved}
        windows, measures = (next(iter(moved.values()))[0]).shape[:2]
        sums = np.zeros((windows, measures, self._known), np.int64)
        money: dict[tuple[str, str], Money] = {}
        for partition, (cells, amounts) in moved.items():
            place = places[partition]
            sums[:, :, place] += cells
            for w, of_window in enumerate(amounts):
                for goal, currency, scale, rows, units in of_window:
                    of_goal = money.setdefault((goal, currency), Money(windows, self._known))
                    of_goal.add(w, place[rows], scale, units)
        kept: list[tuple[Segment, int]] = [((ALL, ALL), 0)]
        for dimension in self._rules.dimensions:
            kept += self._fold(dimension, sums, money)
        by_place = {place: sums[:, :, place].tolist() for _, place in kept}
        return tuple(
            self._row(w, segment, by_place[place][w], {key: m.amount(w, place) for key, m in money.items()})
            for w in range(windows)
            for segment, place in kept
        )

    def _places_of(self, partition: int) -> npt.NDArray[np.intp]:
        """Place in the sums of each row of a partition's cells: kept until it has other values."""
        counts = self._latest[partition]
        held = self._places.get(partition)
        if held is not None and held[0] == counts.segments:
            return held[1]
        place = np.zeros(counts.rows, np.intp)  # row 0 is the whole
        for name, values, rows in counts.segments:
            of_value = self._place[name]
            for value, row in zip(values, rows, strict=True):
                if value not in of_value:
                    of_value[value] = self._known
                    self._known += 1
                place[row] = of_value[value]
        self._places[partition] = counts.segments, place
        return place

    def _fold(
        self, dimension: Dimension, sums: I64, money: Mapping[tuple[str, str], Money]
    ) -> list[tuple[Segment, int]]:
        """Keep the configured number of values, those with most visitors; the rest goes into `other`, in place.

        Returns:
            What is kept and its place in the sums, those with most visitors first.
        """
        windows = self._rules.windows
        longest = max(range(len(windows)), key=lambda w: windows[w].length_ms)

        def ranked(of_value: Mapping[str, int]) -> list[tuple[str, int]]:
            visitors = sums[longest, 0].tolist()
            live = np.any(sums, axis=(0, 1))
            there = [(-visitors[place], value, place) for value, place in of_value.items() if live[place]]
            return [(value, place) for _, value, place in sorted(there)]

        places = self._place[dimension.name]
        named = ranked({v: place for v, place in places.items() if v not in (UNKNOWN, OTHER)})
        other, rest = places[OTHER], [place for _, place in named[dimension.max_values :]]
        sums[:, :, other] += sums[:, :, rest].sum(axis=2)
        for amounts in money.values():
            amounts.units[:, other] += amounts.units[:, rest].sum(axis=1)
        kept = dict(named[: dimension.max_values])
        kept |= {value: places[value] for value in (UNKNOWN, OTHER) if value in places}
        return [((dimension.name, value), place) for value, place in ranked(kept)]

    def _row(
        self, w: int, segment: Segment, numbers: list[int], money: Mapping[tuple[str, str], Decimal]
    ) -> Row:
        goals = self._rules.goals
        n = len(goals)
        counts = {}
        for g, goal in enumerate(goals):
            revenue = {goal.default_currency: Decimal(0)} if goal.revenue else {}
            if goal.revenue:
                revenue |= {c: amount for (name, c), amount in money.items() if name == goal.name and amount}
            counts[goal.name] = GoalCounts(
                converters=numbers[2 + g],
                conversions=numbers[2 + n + g],
                converting_sessions=numbers[2 + 2 * n + g],
                revenue=revenue,
            )
        return Row(self._rules.windows[w].name, *segment, numbers[0], numbers[1], counts)


class Money:
    """Amounts of a goal and a currency: `units` (windows, places) of so many decimals, without bound."""

    def __init__(self, windows: int, places: int) -> None:
        self._scale = 0
        self.units: npt.NDArray[np.object_] = np.zeros((windows, places), object)

    def add(self, window: int, places: npt.NDArray[np.intp], scale: int, units: Sequence[str]) -> None:
        """Add amounts of `scale` decimals, in distinct places."""
        if scale > self._scale:
            self.units *= 10 ** (scale - self._scale)
            self._scale = scale
        factor = 10 ** (self._scale - scale)
        self.units[window, places] += np.array([int(unit) * factor for unit in units], object)

    def amount(self, window: int, place: int) -> Decimal:
        """What it is in a window."""
        return Decimal(self.units[window, place]).scaleb(-self._scale, EXACT)
