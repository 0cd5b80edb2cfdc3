"""Cells with tiers against a plain dict of times: whatever the windows, however the clock jumps."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.panes import Panes, first_pane_start, tiers_of
from monitor.windows import Window

MAX_AHEAD = 2_000
SETS = [
    ["1s"],
    ["61s"],
    ["299s", "5m"],
    ["7m", "24h"],
    ["59s", "1m"],
    ["2s", "7s"],
    ["7s", "90s", "1m"],
    ["1m", "5m", "1h", "24h"],
    ["90s", "91s", "92s"],
    ["895s", "900s", "910s"],
]


def parse_windows(names: list[str]) -> list[Window]:
    return [Window.parse(name) for name in names]


class Counter:
    """The panes under test beside a list of what was counted."""

    def __init__(self, names: list[str], start: int) -> None:
        self.windows = parse_windows(names)
        self.panes = Panes(self.windows, MAX_AHEAD)
        self.measures = [self.panes.add_measure(np.int32), self.panes.add_measure(np.int64)]
        self.added: list[tuple[int, int, int, int]] = []
        self.clock = start
        self.panes.advance(start)

    def advance(self, clock: int) -> None:
        self.clock = max(self.clock, clock)
        self.panes.advance(clock)

    def add(self, measure: int, times: list[int], rows: list[int], amount: int) -> None:
        column = self.panes.column(np.array(times, np.int64))
        inside = column >= 0
        self.panes.add(self.measures[measure], column[inside], np.array(rows, np.int64)[inside], amount)
        self.added += [(measure, t, r, amount) for t, r in zip(times, rows, strict=True)]

    def check(self, at: int) -> None:
        for window in self.windows:
            start = first_pane_start(window, at)
            assert at - window.length_ms < start + window.pane_ms
            edges = [
                (start, None),
                *((start + i * window.pane_ms, start + (i + 1) * window.pane_ms) for i in range(3)),
            ]
            spans = self.panes.spans(edges)
            for measure in (0, 1):
                found = self.panes.sums(measure, spans, self.panes.rows)
                for (begin, end), of_span in zip(edges, found, strict=True):
                    wanted = np.zeros(self.panes.rows, np.int64)
                    for m, t, r, amount in self.added:
                        if m == measure and t >= begin and (end is None or t < end):
                            wanted[r] += amount
                    assert of_span.tolist() == wanted.tolist(), (window.name, at, begin, end)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32), st.sampled_from(SETS))
def test_every_window_is_the_sum_of_what_it_holds(seed: int, names: list[str]) -> None:
    rng = random.Random(seed)
    start = 1_705_320_000_000 + rng.randrange(100_000_000)
    counter = Counter(names, start)
    longest = max(w.length_ms for w in counter.windows)
    shortest = min(w.length_ms for w in counter.windows)
    for _ in range(rng.randrange(1, 14)):
        n = rng.randrange(1, 8)
        reach = rng.choice([1_000, shortest, longest, 2 * longest])
        times = [counter.clock - rng.randrange(reach) for _ in range(n)]
        if rng.random() < 0.3:
            times.append(counter.clock + rng.randrange(MAX_AHEAD))
        counter.add(rng.randrange(2), times, [rng.randrange(3) for _ in times], rng.choice([1, 1, -1, 5]))
        counter.check(counter.clock)
        jump = rng.choice([0, 1, 999, 1_000, rng.randrange(shortest), shortest, longest, 3 * longest])
        jump += rng.choice([0, 0, 1])
        counter.advance(counter.clock + jump)
        counter.check(counter.clock)
        counter.check(counter.clock + rng.randrange(2 * shortest))


@pytest.mark.parametrize("names", SETS)
def test_the_ring_wraps_many_times(names: list[str]) -> None:
    """A steady stream, for several lengths of the finest tier."""
    counter = Counter(names, 1_705_320_000_123)
    finest = counter.panes.tiers[0]
    step = max(finest.pane_ms * finest.count // 7, 1)
    for i in range(60):
        counter.add(0, [counter.clock, counter.clock - 900], [i % 3, 1], 1)
        counter.advance(counter.clock + step + i)
    counter.check(counter.clock)
    reach = min(first_pane_start(window, counter.clock) for window in counter.windows)
    total = int(counter.panes.planes[0].sum())
    recent = sum(1 for _, t, _, _ in counter.added if t >= reach)
    assert recent <= total <= recent + 4, "what no window can reach any more is gone"


def test_an_earlier_clock_changes_nothing() -> None:
    counter = Counter(["1m", "5m"], 1_705_320_000_000)
    counter.add(0, [counter.clock], [0], 1)
    before = counter.panes.planes[0].copy()
    counter.panes.advance(counter.clock - 100_000)
    assert counter.panes.clock_ms == counter.clock
    assert np.array_equal(before, counter.panes.planes[0])


@pytest.mark.parametrize("names", SETS)
def test_a_jump_over_everything_leaves_nothing(names: list[str]) -> None:
    counter = Counter(names, 1_705_320_000_000)
    longest = max(w.length_ms for w in counter.windows)
    counter.add(0, [counter.clock - i * longest // 50 for i in range(50)], [1] * 50, 1)
    counter.advance(counter.clock + 400 * 86_400_000)
    assert not counter.panes.planes[0].any()
    assert (counter.panes.column(np.array([1_705_320_000_000])) == -1).all()


@pytest.mark.parametrize("names", SETS)
def test_columns_know_the_pane_they_hold(names: list[str]) -> None:
    """`starts` is the way back from `column`: that is how a checkpoint stores cells."""
    counter = Counter(names, 1_705_320_000_777)
    longest = max(w.length_ms for w in counter.windows)
    for jump in (0, 1_500, longest // 3, longest, 5 * longest + 1):
        counter.advance(counter.clock + jump)
        times = np.array([counter.clock + 1_999 - i * longest // 997 for i in range(997)], np.int64)
        columns = counter.panes.column(times)
        starts = counter.panes.starts()[columns[columns >= 0]]
        inside = times[columns >= 0]
        assert (starts >= 0).all()
        assert (starts <= inside).all()
        assert np.array_equal(counter.panes.column(starts), columns[columns >= 0])


@pytest.mark.parametrize("names", SETS)
def test_tiers_are_in_order_and_fine_enough(names: list[str]) -> None:
    windows = parse_windows(names)
    tiers = tiers_of(windows, MAX_AHEAD)
    assert [t.first for t in tiers] == [sum(t.count for t in tiers[:i]) for i in range(len(tiers))]
    assert all(a.pane_ms < b.pane_ms for a, b in itertools.pairwise(tiers))
    for tier in tiers:
        assert all(w.pane_ms % tier.pane_ms == 0 for w in windows if w.length_ms >= tier.windows[0].length_ms)


def test_many_and_few_additions_are_the_same() -> None:
    rng = np.random.default_rng(1)
    panes = Panes(parse_windows(["1m"]), MAX_AHEAD)
    few, many = panes.add_measure(np.int32), panes.add_measure(np.int32)
    column, row = rng.integers(0, panes.columns, 5_000), rng.integers(0, panes.rows, 5_000)
    panes.add(many, column, row, -1)
    for i in range(0, 5_000, 500):
        panes.add(few, column[i : i + 500], row[i : i + 500], -1)
    assert np.array_equal(panes.planes[few], panes.planes[many])
    panes.replace(few, panes.planes[few].copy())
    assert np.array_equal(panes.whole[few], panes.whole[many])


def test_more_rows_keep_what_is_there() -> None:
    counter = Counter(["61s"], 1_705_320_000_000)
    counter.add(0, [counter.clock] * 3, [0, 1, 15], 2)
    counter.panes.ensure_rows(40)
    counter.add(0, [counter.clock], [39], 7)
    counter.check(counter.clock)
