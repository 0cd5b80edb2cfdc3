"""What stage one says to stage two: the window counts of one partition at one event time, as absolute numbers.

Partitions are evaluated at slightly different moments. So that their sum is true for one moment, a message also says
what changes when each of its windows moves on by its next few panes; `Counts.at` then moves it forward exactly.
"""

from __future__ import annotations

from decimal import Context
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from monitor.panes import Spans, first_pane_start

if TYPE_CHECKING:
    from monitor.shard import Shard

I64 = npt.NDArray[np.int64]
#: How far ahead of its own event time a message can be moved: several publishing intervals.
AHEAD_MS = 10_000
#: Version of the message; a reader that meets another one says so.
VERSION = 2
#: Goal, currency, decimals, rows, units (as text: they have no bound).
Amounts = tuple[str, str, int, list[int], list[str]]
#: Wide enough for any sum of amounts below 10^15 with 18 decimals; never rounds.
EXACT = Context(prec=80)


class Step(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a window loses when it moves on by a pane: flat cell numbers and (negative) differences."""

    cells: list[int]
    change: list[int]
    amounts: list[Amounts]


class Counts(msgspec.Struct, array_like=True, frozen=True):
    """The windows of one partition.

    Attributes:
        at_ms: The event time they are for; None before the first event.
        watermark_ms: Latest event time counted.
        windows: Names of the windows.
        panes_ms: Length of each window's pane.
        goals: Names of the goals.
        segments: Per dimension its name, its values, and the row of each.
        rows: How many rows the cells have; row 0 is the whole.
        cells: (windows, measures, rows) as bytes, integers as narrow as they fit; measures are visitors, sessions, then
            converters, conversions and converting sessions of each goal.
        width: Bytes of one of these integers.
        amounts: Revenue per window.
        steps: Per window, what its next panes change, one after the other.
    """

    version: int
    at_ms: int | None
    watermark_ms: int | None
    windows: list[str]
    panes_ms: list[int]
    goals: list[str]
    segments: list[tuple[str, list[str], list[int]]]
    rows: int
    cells: bytes
    width: int
    amounts: list[list[Amounts]]
    steps: list[list[Step]]

    def array(self) -> I64:
        """The cells as a fresh array (windows, measures, rows)."""
        flat = np.frombuffer(self.cells, f"<i{self.width}").astype(np.int64)
        return flat.reshape(len(self.windows), -1, self.rows)

    def at(self, at_ms: int) -> tuple[I64, list[list[Amounts]]] | None:
        """Cells and revenue at a later event time; None if that is further ahead than this message knows."""
        cells, amounts = self.array(), [list(a) for a in self.amounts]
        if self.at_ms is None:
            return cells, amounts
        for w, pane in enumerate(self.panes_ms):
            moved = at_ms // pane - self.at_ms // pane
            if moved > len(self.steps[w]):
                if not cells[w].any() and not any(step.cells for step in self.steps[w]):
                    continue  # nothing here that could fall out
                return None
            for step in self.steps[w][: max(moved, 0)]:
                cells[w].reshape(-1)[step.cells] += np.array(step.change, np.int64)
                amounts[w] += step.amounts
        return cells, amounts


def evaluate(shard: Shard, at_ms: int | None) -> Counts:
    """The counts of a shard at an event time not before its own (default: its own)."""
    panes, rules = shard.panes, shard.rules
    clock = panes.clock_ms
    at = clock if at_ms is None or clock is None else max(at_ms, clock)
    measures = [shard.visitors.seen, shard.sessions.seen]
    measures += shard.visitors.converted + shard.conversions + shard.sessions.converted
    rows = shard.next_row
    cells = np.zeros((len(rules.windows), len(measures), rows), np.int64)
    amounts: list[list[Amounts]] = [[] for _ in rules.windows]
    steps: list[list[Step]] = [[] for _ in rules.windows]
    if at is not None:
        # All that is to be summed, at one go: each window, then what leaves it pane by pane.
        edges: list[tuple[int, int | None]] = []
        of: list[int] = []
        for w, window in enumerate(rules.windows):
            start, pane = first_pane_start(window, at), window.pane_ms
            # Nothing ends the window: whoever's clock runs ahead of ours is counted now, so no rate is above 1.
            edges.append((start, None))
            ahead = min(-(-AHEAD_MS // pane) + 1, window.length_ms // pane)
            edges += [(edge, edge + pane) for edge in range(start, start + ahead * pane, pane)]
            of += [w] * (1 + ahead)
        spans = panes.spans(edges)
        sums = np.stack([panes.sums(measure, spans, rows) for measure in measures], axis=1)
        money = _amounts(shard, spans, rows)
        for i, w in enumerate(of):
            if i == 0 or of[i - 1] != w:
                cells[w], amounts[w] = sums[i], money[i]
                continue
            flat = sums[i].reshape(-1)
            where = np.flatnonzero(flat)
            leaving = [(g, c, d, r, [f"-{unit}" for unit in units]) for g, c, d, r, units in money[i]]
            steps[w].append(Step(where.tolist(), (-flat[where]).tolist(), leaving))
    largest = int(np.abs(cells).max(initial=0))
    width = next(w for w in (1, 2, 4, 8) if largest < 1 << (8 * w - 1))
    return Counts(
        version=VERSION,
        at_ms=at,
        watermark_ms=shard.watermark_ms,
        windows=[w.name for w in rules.windows],
        panes_ms=[w.pane_ms for w in rules.windows],
        goals=[g.name for g in rules.goals],
        segments=[(s.dimension.name, s.names, s.row.tolist()) for s in shard.segments],
        rows=rows,
        cells=cells.astype(f"<i{width}").tobytes(),
        width=width,
        amounts=amounts,
        steps=steps,
    )


def _amounts(shard: Shard, spans: Spans, rows: int) -> list[list[Amounts]]:
    """Revenue over several spans."""
    result: list[list[Amounts]] = [[] for _ in range(spans.count)]
    for key, scale in shard.revenue.scale.items():
        for i, units in enumerate(shard.panes.sums(shard.revenue.measures[key], spans, rows)):
            where = np.flatnonzero(units)
            if where.size:
                result[i].append((*key, scale, where.tolist(), list(map(str, units[where].tolist()))))
    return result
