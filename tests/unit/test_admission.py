"""Which events count: a batch at a time or one by one, the answer is the same."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.admission import Admission
from monitor.duplicates import Remembered
from tests import product

T0 = 1_705_320_000_000


def rules(clock: str) -> product.Rules:
    return product.rules_of(
        {
            "clock": clock,
            "windows": ["1m"],
            "goals": {"buy": {"kind": "macro", "match": {"event": "purchase"}}},
            "allowed_lateness": "2s",
            "session_gap": "30m",
            "dedupe_window": "5s",
        }
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32), st.sampled_from(["event", "wall"]), st.integers(1, 3))
def test_a_batch_is_judged_as_its_events_one_by_one(seed: int, clock: str, sources: int) -> None:
    rng = random.Random(seed)
    n = rng.randrange(1, 60)
    now = T0 + 4_000
    time = np.array([T0 + rng.randrange(-1_000, 9_000) for _ in range(n)], np.int64)
    ids = np.array([rng.choice([0, 0, *range(1, 8)]) for _ in range(n)], np.uint64)
    source = np.array([rng.randrange(sources) for _ in range(n)], np.int64)
    if rng.random() < 0.5:  # an id always with one time and one source: the fast path
        time = np.where(ids > 0, T0 + ids.astype(np.int64) * 700, time)
        source = np.where(ids > 0, ids.astype(np.int64) % sources, source)
    whole, single = Admission(rules(clock)), Admission(rules(clock))
    admitted: list[bool] = []
    repeats = late = 0
    cuts = sorted({0, n, *(rng.randrange(n + 1) for _ in range(2))})
    for begin, end in itertools.pairwise(cuts):
        found, r, x = whole.admit(time[begin:end], ids[begin:end], now, source[begin:end])
        admitted += found.tolist()
        repeats, late = repeats + r, late + x
    one = [single.admit(time[i : i + 1], ids[i : i + 1], now, source[i : i + 1]) for i in range(n)]
    assert admitted == [bool(a[0]) for a, _, _ in one]
    assert repeats + late == sum(r + x for _, r, x in one)
    assert whole.watermarks == single.watermarks
    assert repeats + late + sum(admitted) == n
    for found in (whole, single):
        table = found.event_ids.table
        assert table.size == len({int(i) for i, ok in zip(ids, admitted, strict=True) if ok and i})


def test_a_late_event_does_not_make_its_id_known() -> None:
    admission = Admission(rules("event"))
    ids = np.array([1, 2, 2], np.uint64)
    admitted, repeats, late = admission.admit(np.array([T0 + 9_000, T0, T0 + 8_000]), ids, T0)
    assert (admitted.tolist(), repeats, late) == ([True, False, True], 0, 1)


def test_what_was_late_twice_is_late_twice_however_it_is_cut() -> None:
    time, ids = np.array([T0 + 9_000, T0, T0]), np.array([0, 2, 2], np.uint64)
    whole, single = Admission(rules("event")), Admission(rules("event"))
    one = [single.admit(time[i : i + 1], ids[i : i + 1], T0) for i in range(3)]
    assert sum(x for _, _, x in one) == 2
    assert whole.admit(time, ids, T0)[1:] == (0, 2)


def test_each_source_has_a_watermark_of_its_own() -> None:
    admission = Admission(rules("event"))
    time, none = np.array([T0 + 60_000, T0, T0 + 1]), np.zeros(3, np.uint64)
    assert admission.admit(time, none, T0, np.array([0, 1, 0]))[0].tolist() == [True, True, False]
    assert (admission.watermark_ms, admission.lowest_ms) == (T0 + 60_000, T0)


def test_by_the_wall_clock_an_event_from_the_future_makes_nothing_late() -> None:
    none = np.zeros(2, np.uint64)
    time = np.array([T0 + 100_000, T0])
    assert Admission(rules("wall")).admit(time, none, T0)[0].tolist() == [True, True]
    assert Admission(rules("event")).admit(time, none, T0)[0].tolist() == [True, False]


@pytest.mark.parametrize("gap", [4_999, 5_000, 5_001])
def test_an_id_is_remembered_for_the_window_and_both_ways(gap: int) -> None:
    known = Remembered(5_000)
    key = np.array([7], np.uint64)
    known.remember(key, known.find(key), np.array([T0]))
    for at in (T0 + gap, T0 - gap):
        assert known.repeats(known.find(key), np.array([at])).tolist() == [gap <= 5_000]


def test_the_first_of_several_in_a_batch_counts() -> None:
    known = Remembered(5_000)
    keys = np.array([3, 3, 4, 3], np.uint64)
    times = np.array([T0, T0 + 6_000, T0, T0 + 6_001])
    assert known.new_and_repeated(keys, times).tolist() == [False, False, False, True]


def test_memory_is_bounded() -> None:
    known = Remembered(5_000)
    assert not known.new_and_repeated(np.arange(1, 20_001, dtype=np.uint64), T0 + np.arange(20_000)).any()
    assert known.limit(10_000, T0) == 11_000
    assert known.table.size == 9_000
    assert int(known.table.columns["at"][: known.table.size].min()) == T0 + 11_000
    known.forget(T0 + 40_000)
    assert known.table.size == 0
    assert known.limit(10, T0) == 0


def test_what_no_event_can_repeat_goes_first_and_is_no_loss() -> None:
    known = Remembered(5_000)
    assert not known.new_and_repeated(np.arange(1, 20_001, dtype=np.uint64), T0 + np.arange(20_000)).any()
    assert known.limit(10_000, T0 + 20_000) == 0
    assert known.table.size == 5_000
    assert known.table.forgotten is None
