"""Visitors and conversions of each minute, in one partition."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import state
from monitor.minutes import KEPT, MINUTE_MS, Minutes
from tests import product

KEYS = {
    "windows": ["1m", "5m"],
    "goals": {
        "buy": {"kind": "macro", "match": {"event": "purchase"}},
        "join": {"kind": "micro", "match": {"event": "sign_up"}},
    },
    "dimensions": {"device": {}},
    "allowed_lateness": "5m",
    "session_gap": "30m",
}
NOON = 1_705_320_000_000
FIRST = NOON // MINUTE_MS
KINDS = ("page_view", "purchase", "sign_up")
FEW = settings(max_examples=40, deadline=None, derandomize=True)


def event(visitor: int, at: int, kind: str = "page_view", device: str | None = None) -> dict[str, Any]:
    carried = {} if device is None else {"device": device}
    return {"event": kind, "visitor_id": f"v{visitor}", "timestamp": NOON + at, **carried}


def whole(shard: Any) -> dict[int, list[int]]:
    """Visitors, purchases and sign-ups of each minute."""
    return {m - FIRST: cells[:, 0].tolist() for m, cells in sorted(shard.minutes.cells.items())}


def by_hand(events: list[dict[str, Any]]) -> dict[int, list[int]]:
    visitors: dict[int, set[str]] = {}
    goals: Counter[tuple[int, str]] = Counter()
    for e in events:
        minute = e["timestamp"] // MINUTE_MS - FIRST
        visitors.setdefault(minute, set()).add(e["visitor_id"])
        goals[minute, e["event"]] += 1
    return {m: [len(v), goals[m, "purchase"], goals[m, "sign_up"]] for m, v in sorted(visitors.items())}


@FEW
@given(st.integers(0, 1 << 32))
def test_a_visitor_counts_under_what_he_was_in_that_minute(seed: int) -> None:
    """In one batch of hours as in a batch of every minute."""
    rng = random.Random(seed)
    events = [
        event(rng.randrange(5), at, rng.choice(KINDS), rng.choice([None, None, "mobile", "desktop", "tv"]))
        for at in sorted(rng.randrange(200 * MINUTE_MS) for _ in range(150))
    ]
    once, often = (
        product.Partition(KEYS | {"windows": ["1m", "5m", "24h"]}),
        product.Partition(KEYS | {"windows": ["1m", "5m", "24h"]}),
    )
    once.apply(events)
    for minute in range(200):
        often.apply([e for e in events if (e["timestamp"] - NOON) // MINUTE_MS == minute])
    assert by_segment(once.shard) == by_segment(often.shard)


def by_segment(shard: Any) -> dict[tuple[int, str], list[int]]:
    """Visitors and conversions of each minute and value of the first dimension."""
    segments = shard.segments[0]
    names = {int(row): segments.names[n] for n, row in enumerate(segments.row[: len(segments.names)])}
    return {
        (minute, name): cells[:, row].tolist()
        for minute, cells in shard.minutes.cells.items()
        for row, name in names.items()
        if row < cells.shape[1] and cells[:, row].any()
    }


def test_a_batch_of_hours_counts_each_of_its_minutes() -> None:
    """A worker that catches up reads hours of a quiet site at once."""
    events = [event(visitor, at * MINUTE_MS) for at in range(0, 300, 7) for visitor in (1, 2)]
    partition = product.Partition(KEYS | {"windows": ["1m", "24h"]})
    partition.apply(events)
    assert whole(partition.shard) == by_hand(events)


@FEW
@given(st.integers(0, 1 << 32), st.sampled_from([30_000, 120_000, 290_000]))
def test_each_visitor_counts_once_a_minute_however_events_arrive(seed: int, jitter: int) -> None:
    rng = random.Random(seed)
    events = [
        event(rng.randrange(12), at, rng.choice(KINDS), rng.choice([None, "mobile", "desktop"]))
        for at in sorted(rng.randrange(20 * MINUTE_MS) for _ in range(150))
    ]
    events.sort(key=lambda e: e["timestamp"] + rng.randrange(jitter))
    partition = product.Partition(KEYS)
    rest = list(events)
    while rest:
        cut = rng.randrange(1, 40)
        assert partition.apply(rest[:cut])[0] == len(rest[:cut]), "none is late"
        rest = rest[cut:]
    assert whole(partition.shard) == by_hand(events)
    for cells in partition.shard.minutes.cells.values():
        rows = cells[:, 1:].sum(axis=1)
        assert rows.tolist() == cells[:, 0].tolist(), "the values of a dimension add up to the whole"


def test_a_visitor_counts_under_the_value_of_then() -> None:
    partition = product.Partition(KEYS)
    partition.apply([event(1, 0, device="mobile"), event(2, 0)])
    partition.apply([event(1, MINUTE_MS, device="desktop")])
    segments = partition.shard.segments[0]
    row = dict(zip(segments.names, segments.row.tolist(), strict=True))
    first, second = (partition.shard.minutes.cells[FIRST + m] for m in (0, 1))
    assert [int(first[0, row[v]]) for v in ("mobile", "unknown")] == [1, 1]
    assert second[0, row["desktop"]] == 1
    assert second.sum() == 2


def test_a_visitor_who_comes_back_after_more_than_an_hour_counts_again() -> None:
    partition = product.Partition(KEYS)
    for minute in (0, 63, 64, 128, 1_000, 1_000):
        partition.apply([event(1, minute * MINUTE_MS)])
    assert whole(partition.shard) == {m: [1, 0, 0] for m in (0, 63, 64, 128, 1_000)}


@FEW
@given(st.integers(0, 1 << 32))
def test_a_restart_between_any_two_batches_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    events = [
        event(rng.randrange(6), at, rng.choice(KINDS))
        for at in sorted(rng.randrange(6 * MINUTE_MS) for _ in range(60))
    ]
    partition = product.Partition(KEYS)
    records = []
    for at in range(0, 60, 10):
        partition.apply(events[at : at + 10])
        records.append(state.delta(partition.shard))
        if rng.random() < 0.5:
            partition.shard = state.load(partition.rules, product.SALT, records)
            assert partition.shard.minutes.untold == set(partition.shard.minutes.cells), "told anew"
    assert whole(partition.shard) == by_hand(events)


def test_what_stage_two_has_is_dropped_and_does_not_come_back() -> None:
    partition = product.Partition(KEYS)
    partition.apply([event(1, m * MINUTE_MS) for m in range(4)])
    minutes = partition.shard.minutes
    minutes.forget(FIRST + 1)
    minutes.forget(FIRST)  # an old word changes nothing
    assert set(minutes.cells) == minutes.untold == minutes.unsaved == {FIRST + 2, FIRST + 3}
    partition.apply([event(2, MINUTE_MS), event(2, 2 * MINUTE_MS)])
    assert whole(partition.shard) == {2: [2, 0, 0], 3: [1, 0, 0]}
    record = state.delta(partition.shard)
    again = state.load(partition.rules, product.SALT, [record])
    assert again.minutes.taken == FIRST + 1


def test_no_more_than_a_week_is_kept() -> None:
    minutes = Minutes([], 0)
    minutes._add(np.arange(KEPT + 50), 0, np.zeros((1, KEPT + 50), np.int64), 1)
    minutes.forget(9)
    assert (min(minutes.cells), len(minutes.cells)) == (50, KEPT)
    assert minutes.untold == set(minutes.cells)


def test_all_is_news_again() -> None:
    partition = product.Partition(KEYS)
    partition.apply([event(1, m * MINUTE_MS) for m in range(3)])
    minutes = partition.shard.minutes
    assert minutes.untold == {FIRST, FIRST + 1, FIRST + 2}
    minutes.untold.clear()
    partition.apply([event(1, 2 * MINUTE_MS, "purchase")])
    assert minutes.untold == {FIRST + 2}
    minutes.tell_again()
    assert minutes.untold == {FIRST, FIRST + 1, FIRST + 2}
    told = minutes.packed(minutes.untold)
    assert [minute for minute, *_ in told] == [FIRST, FIRST + 1, FIRST + 2]
