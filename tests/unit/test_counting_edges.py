"""Edges at which counting once went wrong, found by the laws: each at once and one by one, against the oracle."""

from __future__ import annotations

from typing import Any

import pytest

from tests import oracle, product

#: 2024-01-15 12:00 UTC: an edge of every pane.
NOON = 1_705_320_000_000
MINUTE = 60_000


def keys(**changes: Any) -> dict[str, Any]:
    """Rules whose edges lie close together."""
    return {
        "windows": ["1m"],
        "goals": {"purchase": {"match": {"event": "purchase"}, "revenue": "value"}},
        "dimensions": {"device": {}},
        "allowed_lateness": "0ms",
        "max_in_future": "2s",
        "session_gap": "2001ms",
        "dedupe_window": "1s",
    } | changes


def at(ms: int, event: str = "page_view", visitor: str = "v", **fields: Any) -> dict[str, Any]:
    return {"event": event, "visitor_id": visitor, "timestamp": NOON + ms} | fields


EDGES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "a shorter window that reaches further back than a longer one": (
        keys(windows=["299s", "5m"]),
        [at(-1), at(399), at(295_398)],
    ),
    "a visitor whose pauses are each within the longest window": (
        keys(),
        [at(0, device="tv"), at(400), at(60_399)],
    ),
    "a visitor whose last event before the batch is long ago, and who comes twice": (
        keys(allowed_lateness="10s", session_gap="30s", dedupe_window="10s"),
        [at(0, device="tv"), at(50_000), at(60_000), at(61_000), at(62_000)],
    ),
    "a session that begins anew before its visitor carries a value": (
        keys(),
        [at(0), at(0, session_id="s"), at(60_001), at(60_001, session_id="s"), at(60_001, device="tv")],
    ),
    "a session that returns within a batch, and inherits": (
        keys(session_gap="90s"),
        [
            at(0, session_id="s", device="tv"),
            at(30_000, device="mobile"),
            at(60_001, session_id="s"),
            at(60_002, device="watch"),
        ],
    ),
    "a repeat that is ahead of everything": (
        keys(dedupe_window="10m"),
        [at(0, event_id="e"), at(500_000, event_id="e"), at(0, visitor="w"), at(-1, visitor="x")],
    ),
    "one event id at three times": (
        keys(allowed_lateness="10s", session_gap="30s", dedupe_window="10s"),
        [at(0, event_id="e"), at(10_001, event_id="e"), at(9_000, event_id="e"), at(20_001, event_id="e")],
    ),
    "a conversion that carries nothing, between two values": (
        keys(allowed_lateness="10s", session_gap="30s", dedupe_window="10s"),
        [at(0, device="tv"), at(5, "purchase", value=1), at(3, device="watch"), at(9, device="mobile")],
    ),
    "amounts beyond 64 bits in their smallest unit": (
        keys(),
        [
            at(0, "purchase", value="999999999999999.999999999999999999"),
            at(1, "purchase", value="999999999999999.999999999999999999"),
            at(61_000, "purchase", value="0.000000000000000001"),
        ],
    ),
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("one_by_one", [False, True], ids=["at once", "one by one"])
def test_an_edge(name: str, one_by_one: bool) -> None:
    rules, events = EDGES[name]
    cuts = range(len(events)) if one_by_one else ()
    assert oracle.table(product.rows(rules, [events], cuts=cuts)) == oracle.table(
        oracle.rows(rules, [events])
    )


@pytest.mark.parametrize("name", EDGES)
def test_an_edge_after_a_crash_at_every_event(name: str) -> None:
    rules, events = EDGES[name]
    worker = product.Worker(rules)
    for position, event in enumerate(events, 1):
        worker.apply([event])
        worker.checkpoint(position)
        worker.crash()
    found = oracle.table(product.total(rules, [worker.partition]))
    assert found == oracle.table(oracle.rows(rules, [events]))


@pytest.mark.parametrize("windows", [["1m"], ["299s", "5m"], ["1m", "5m", "1h", "24h"], ["7s", "90s"]])
def test_long_after_the_last_event_nothing_comes_back(windows: list[str]) -> None:
    """A time far ahead of the partition's own: other partitions went on, or the wall clock did."""
    rules = keys(windows=windows)
    events = [at(0, "purchase", value=1), at(59_000, visitor="w"), at(200_000, device="tv")]
    partition = product.Partition(rules)
    partition.apply(events)
    for ahead in [0, 1, 999, 1_000, 58_999, *range(5_000, 1_000_000, 13_337), 86_400_000, 10**9]:
        moment = NOON + 200_000 + ahead
        found = oracle.table(product.total(rules, [partition], moment))
        assert found == oracle.table(oracle.rows(rules, [events], moment)), ahead
