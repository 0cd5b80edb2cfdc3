"""A flood of visitors and ids: memory stays bounded, and the numbers follow the written rule."""

from __future__ import annotations

import logging
import random
from typing import Any

import numpy as np
import pytest

from monitor import state
from monitor.bounds import SESSIONS_PER_VISITOR, Bounds
from monitor.counters import PipelineCounters
from monitor.shard import Shard
from monitor.table import Table
from streams.crowding import Crowding
from streams.seldom import Seldom
from streams.settings import Limits
from tests import oracle, product

NOON = 1_705_320_000_000
MOST = 2_000
BOUNDS = Bounds(MOST, MOST)
KEYS: dict[str, Any] = {
    "windows": ["1m", "1h", "24h"],
    "goals": {"buy": {"kind": "macro", "match": {"event": "purchase"}, "revenue": "value"}},
    "dimensions": {"device": {}},
    "allowed_lateness": "0s",
    "max_in_future": "1s",
    "session_gap": "5m",
    "dedupe_window": "1h",
}


def event(visitor: object, at: int, **more: Any) -> dict[str, Any]:
    return {"event": "page_view", "visitor_id": f"v{visitor}", "timestamp": NOON + at, **more}


def traffic(seed: int, n: int) -> list[dict[str, Any]]:
    """New visitors most of the time, some who come back after long; every event has a time of its own."""
    rng = random.Random(seed)
    found = []
    for i in range(n):
        visitor = i if rng.random() < 0.7 else rng.randrange(max(1, i))
        more: dict[str, Any] = {"device": rng.choice(["m", "d", "t"])}
        if rng.random() < 0.1:
            more |= {"event": "purchase", "value": "1.10", "transaction_id": f"t{i}"}
        if rng.random() < 0.5:
            more["session_id"] = f"s{i}"
        if rng.random() < 0.5:
            more["event_id"] = f"e{i}"
        found.append(event(visitor, i * 97, **more))
    return found


def people(rows: Any) -> dict[Any, Any]:
    """Visitors and converters of each row."""
    return {
        (row.window, row.dimension, row.value): (row.visitors, row.goals["buy"].converters)
        for row in rows
        if row.visitors
    }


def as_rule_says(kept: dict[str, list[dict[str, Any]]]) -> None:
    """The rule, in other words: over the limit, only the latest nine tenths of it stay."""
    if len(kept) > MOST:
        newest = sorted(kept, key=lambda v: kept[v][-1]["timestamp"])[-(MOST - MOST // 10) :]
        for visitor in set(kept) - set(newest):
            del kept[visitor]


def check_cells(partition: product.Partition) -> None:
    """No cell is below 0, and no row has more converters than visitors."""
    shard = partition.shard
    columns = shard.panes.columns  # beyond these is who is in no window
    assert min(int(plane[:columns].min()) for plane in shard.panes.planes) >= 0
    for row in product.total(KEYS, [partition]):
        assert row.goals["buy"].converters <= row.visitors
        assert row.goals["buy"].converting_sessions <= row.sessions


def test_who_is_forgotten_counts_nowhere_and_who_returns_counts_once() -> None:
    """Visitors and converters are those of the remembered, from when they were remembered; orders are all there."""
    events, partition = traffic(1, 12_000), product.Partition(KEYS)
    kept: dict[str, list[dict[str, Any]]] = {}
    forgotten = 0
    for begin in range(0, len(events), 500):
        batch = events[begin : begin + 500]
        partition.apply(batch)
        forgotten += sum(partition.shard.limit(BOUNDS))
        for one in batch:
            kept.setdefault(one["visitor_id"], []).append(one)
        as_rule_says(kept)
        remembered = sorted((e for seen in kept.values() for e in seen), key=lambda e: e["timestamp"])
        rows = product.total(KEYS, [partition])
        assert people(rows) == people(oracle.rows(KEYS, [remembered]))
        check_cells(partition)
    assert forgotten > 5_000
    truth = oracle.table(oracle.rows(KEYS, [events]))
    whole = next(r for r in rows if (r.window, r.dimension) == ("24h", "all"))
    true = next(r for r in oracle.rows(KEYS, [events]) if (r.window, r.dimension) == ("24h", "all"))
    assert whole.goals["buy"].conversions == true.goals["buy"].conversions
    assert whole.goals["buy"].revenue == true.goals["buy"].revenue
    minute = {key: value for key, value in oracle.table(rows).items() if key[0] == "1m"}
    assert minute == {key: value for key, value in truth.items() if key[0] == "1m"}, "short windows are exact"


def test_within_the_limits_nothing_is_forgotten() -> None:
    events, free, bounded = traffic(2, 3_000), product.Partition(KEYS), product.Partition(KEYS)
    for begin in range(0, len(events), 100):
        free.apply(events[begin : begin + 100])
        bounded.apply(events[begin : begin + 100])
        assert bounded.shard.limit(Bounds(3_000, 3_000)) == (0, 0)
    assert state.delta(bounded.shard) == state.delta(free.shard)


@pytest.mark.parametrize("seed", range(3))
def test_a_crash_brings_nobody_back_and_changes_no_number(seed: int) -> None:
    """Deltas and slices from before hold rows that were forgotten since: they stay forgotten."""
    rng = random.Random(seed)
    events = traffic(seed, 12_000)
    through, crashing = product.Partition(KEYS), product.Worker(KEYS)
    position = 0
    while position < len(events):
        batch = events[position : position + 500]
        for shard in (through, crashing.partition):
            shard.apply(batch)
            shard.shard.limit(BOUNDS)
        position += 500
        crashing.checkpoint(position)
        if rng.random() < 0.5:
            crashing.crash()
        restored = crashing.partition
        assert table_sizes(restored.shard) == table_sizes(through.shard)
        assert product.total(KEYS, [restored]) == product.total(KEYS, [through])
        check_cells(restored)


def table_sizes(shard: Shard) -> dict[str, int]:
    return {name: table.size for name, table in state._tables(shard).items()}


def test_a_flood_of_distinct_visitors_and_ids_leaves_memory_flat() -> None:
    most, size = 50_000, 10_000
    bounds, partition = Bounds(most, most), product.Partition(KEYS)
    memory, forgotten = [], np.zeros(2, int)
    for begin in range(0, 300_000, size):
        partition.apply(
            [
                event(i, i // 10, event_id=f"e{i}", **({"session_id": "s"} if i % 2 else {}))
                for i in range(begin, begin + size)
            ]
        )
        forgotten += partition.shard.limit(bounds)
        memory.append(partition.shard.nbytes)
        sizes = table_sizes(partition.shard)
        assert sizes["visitors"] <= most
        assert sizes["event_ids"] <= most
        assert sizes["gap_sessions"] <= most
        assert sizes["sessions"] <= SESSIONS_PER_VISITOR * most
    assert forgotten[1] >= 250_000
    assert max(memory[15:]) <= 1.1 * max(memory[:15]), memory
    longest = next(r for r in product.total(KEYS, [partition]) if (r.window, r.value) == ("24h", "all"))
    assert longest.visitors == table_sizes(partition.shard)["visitors"] >= most - most // 10


def test_a_flood_in_one_millisecond_forgets_no_more_than_it_must() -> None:
    partition = product.Partition(KEYS)
    for begin in range(0, 10_000, 1_000):
        partition.apply([event(i, 0, event_id=f"e{i}") for i in range(begin, begin + 1_000)])
        partition.shard.limit(BOUNDS)
        assert table_sizes(partition.shard)["visitors"] >= min(begin + 1_000, MOST - MOST // 10)
    copy = state.load(partition.rules, product.SALT, [state.delta(partition.shard)])
    assert table_sizes(copy) == table_sizes(partition.shard)


def test_whoever_is_in_no_window_any_more_goes_first_and_is_no_loss() -> None:
    partition = product.Partition(KEYS)
    partition.apply([event(i, i) for i in range(MOST)])
    partition.apply([event(f"new{i}", 25 * 3_600_000 + i) for i in range(500)])
    assert partition.shard.limit(BOUNDS) == (0, 0)
    assert table_sizes(partition.shard)["visitors"] == 500


def test_transactions_are_bounded_too() -> None:
    partition = product.Partition(KEYS)
    buys = [event(1, i, event="purchase", value="1", transaction_id=f"t{i}") for i in range(MOST + 1)]
    partition.apply(buys)
    visitors, ids = partition.shard.limit(BOUNDS)
    assert (visitors, ids) == (0, 1 + MOST // 10)


def test_the_share_of_a_partition_does_not_depend_on_who_has_it() -> None:
    assert Bounds.of_partition(10, 7, 4) == Bounds(3, 2)
    assert Bounds.of_partition(1_000, 1_000, 1_024) == Bounds(1, 1)


def test_it_is_counted_and_told_once_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    counters = PipelineCounters()
    crowding = Crowding(Limits(4_000, 2_000), counters, Seldom(logging.getLogger("test")))
    partition = product.Partition(KEYS)
    for begin in range(0, 6_000, 1_000):
        partition.apply([event(i, i, event_id=f"e{i}") for i in range(begin, begin + 1_000)])
        crowding.check(partition.shard, 2, 0)
    visitors = table_sizes(partition.shard)["visitors"]
    assert visitors <= 2_000
    assert counters.forgotten["visitors"] >= 6_000 - visitors
    assert counters.forgotten["event_ids"] == 6_000 - table_sizes(partition.shard)["event_ids"]
    told = sorted(record.getMessage() for record in caplog.records)
    assert len(told) == 2
    assert "its share (1000) of limits.event_ids" in told[0]
    assert "Raise limits.visitors" in told[1]


def test_reading_old_records_takes_little_more_than_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """All the deltas of a flood, as if no slice had made any of them needless."""
    most, partition = 10_000, product.Partition(KEYS)
    records = []
    for begin in range(0, 100_000, 5_000):
        partition.apply([event(i, i) for i in range(begin, begin + 5_000)])
        partition.shard.limit(Bounds(most, most))
        records.append(state.delta(partition.shard))
    sizes, put = [], Table.put

    def measured(table: Table, *arguments: Any) -> None:
        put(table, *arguments)
        sizes.append(table.size)

    monkeypatch.setattr(Table, "put", measured)
    copy = state.load(partition.rules, product.SALT, records)
    assert table_sizes(copy) == table_sizes(partition.shard)
    assert max(sizes) <= SESSIONS_PER_VISITOR * most * 5 // 4 + 4_096 + 5_000
