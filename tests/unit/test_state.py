"""A shard as bytes and back."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import state
from monitor.shard import Shard
from tests import oracle, product

GOALS: dict[str, Any] = {
    "buy": {"kind": "macro", "match": {"event": "purchase"}, "revenue": "value"},
    "join": {"kind": "micro", "match": {"event": "sign_up"}},
}
KEYS: dict[str, Any] = {
    "windows": ["1m", "299s", "1h"],
    "goals": GOALS,
    "dimensions": {"device": {}, "country": {}},
    "allowed_lateness": "30s",
    "session_gap": "10m",
}
NOON = 1_705_320_000_000


def event(rng: random.Random, at: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "event": rng.choice(["page_view", "page_view", "purchase", "sign_up"]),
        "visitor_id": f"v{rng.randrange(30)}",
        "timestamp": NOON + at - rng.randrange(20_000),
    }
    if found["event"] == "purchase":
        found |= {"value": f"{rng.randrange(10**6)}.{rng.randrange(1000):03}", "transaction_id": f"t{at}"}
        found["currency"] = rng.choice(["EUR", "USD", "JPY"])
    for name, values in {"device": ("m", "d", "t"), "country": ("DE", "AT")}.items():
        if rng.random() < 0.6:
            found[name] = rng.choice(values)
    if rng.random() < 0.4:
        found["session_id"] = f"s{rng.randrange(3)}"
    if rng.random() < 0.5:
        found["event_id"] = f"e{rng.randrange(1_000)}"
    return found


def events(rng: random.Random, n: int = 120) -> list[dict[str, Any]]:
    times = sorted(rng.randrange(2 * 3_600_000) for _ in range(n))
    return [event(rng, at) for at in times]


def load(records: list[bytes], keys: dict[str, Any] = KEYS) -> Shard:
    return state.load(product.rules_of(keys), product.SALT, records)


def full(shard: Shard) -> list[bytes]:
    return [state.slice_of(shard, n) for n in range(state.SLICES)] + [state.delta(shard)]


def seen(shard: Shard) -> Any:
    """All that a shard tells, and what it knows beside that."""
    counted = shard.evaluate()
    minutes = {m: cells.sum() for m, cells in shard.minutes.cells.items()}
    return (
        product.total(KEYS, [_as_partition(shard)]),
        counted.watermark_ms,
        shard.admission.watermarks,
        minutes,
    )


def _as_partition(shard: Shard) -> product.Partition:
    partition = product.Partition(KEYS)
    partition.shard = shard
    return partition


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32))
def test_a_shard_that_was_loaded_goes_on_like_the_one_that_was_saved(seed: int) -> None:
    rng = random.Random(seed)
    all_events = events(rng)
    partition, records = product.Partition(KEYS), []
    copies: list[product.Partition] = []
    for begin in range(0, len(all_events), 30):
        part = all_events[begin : begin + 30]
        told = partition.apply(part)
        for copy in copies:
            assert copy.apply(part) == told
            assert seen(copy.shard) == seen(partition.shard)
        records.append(state.delta(partition.shard))
        by_deltas = load(records)
        by_slices = load(full(partition.shard))
        assert seen(by_deltas) == seen(by_slices) == seen(partition.shard)
        assert state.delta(by_deltas) == state.delta(by_slices), "nothing is marked as changed"
        copies = [_as_partition(by_deltas), _as_partition(by_slices)]


def test_a_delta_holds_what_changed_only() -> None:
    rng = random.Random(1)
    partition = product.Partition(KEYS)
    partition.apply(events(rng, 2_000))
    first = state.delta(partition.shard)
    partition.apply([{**event(rng, 3 * 3_600_000), "visitor_id": "v1"}])
    second = state.delta(partition.shard)
    assert len(state._decode(second).tables["visitors"]) < len(state._decode(first).tables["visitors"]) / 5
    assert seen(load([first, second])) == seen(partition.shard)


def test_nothing_is_a_new_shard() -> None:
    assert load([]).watermark_ms is None
    assert load([state.delta(product.Partition(KEYS).shard)]).watermark_ms is None


@pytest.mark.parametrize("version", [state.VERSION - 1, state.VERSION + 1, None, "x"])
def test_an_unknown_version_is_named(version: object) -> None:
    record = msgspec.msgpack.decode(state.delta(product.Partition(KEYS).shard))
    record[0] = version
    with pytest.raises(state.UnknownVersionError, match=f"version {version}.*version {state.VERSION}"):
        load([msgspec.msgpack.encode(record)])


@pytest.mark.parametrize("body", [(state.VERSION, b"not compressed"), (state.VERSION,), (state.VERSION, 5)])
def test_a_damaged_record_is_a_decode_error(body: object) -> None:
    with pytest.raises(msgspec.MsgspecError):
        load([msgspec.msgpack.encode(body)])


def test_a_changed_config_keeps_what_it_still_knows() -> None:
    rng = random.Random(2)
    partition = product.Partition(KEYS)
    partition.apply(events(rng))
    changed = {
        **KEYS,
        "windows": ["1m", "5m", "1h"],
        "goals": {"more": {"kind": "micro", "match": {"event": "share"}}, "buy": GOALS["buy"]},
        "dimensions": {"brand": {}, "country": {}},
    }
    shard = load(full(partition.shard), changed)
    there = product.Partition(changed)
    there.shard = shard
    before = {(r.window, r.dimension, r.value): r for r in product.total(KEYS, [partition])}
    after = {(r.window, r.dimension, r.value): r for r in product.total(changed, [there])}
    whole, now = before["1h", "all", "all"], after["1h", "all", "all"]
    assert (now.visitors, now.sessions, now.goals["buy"]) == (
        whole.visitors, whole.sessions, whole.goals["buy"]
    )  # fmt: skip
    assert now.goals["more"].conversions == 0
    assert after["1h", "country", "DE"].visitors == before["1h", "country", "DE"].visitors
    assert after["1h", "brand", "unknown"].visitors == whole.visitors
    assert set(now.goals) == {"more", "buy"}
    there.apply([{**event(rng, 3 * 3_600_000 // 2 + 600_000), "brand": "x"}])


def test_ids_and_transactions_are_known_again() -> None:
    partition = product.Partition(KEYS)
    bought = {
        "event": "purchase", "visitor_id": "v", "timestamp": NOON,
        "event_id": "e", "transaction_id": "t", "value": 5,
    }  # fmt: skip
    partition.apply([bought])
    partition.shard = load(full(partition.shard))
    assert partition.apply([bought]) == (0, 1, 0)
    partition.apply([{**bought, "event_id": "other"}])
    whole = next(r for r in product.total(KEYS, [partition]) if r.dimension == "all")
    assert whole.goals["buy"].conversions == 1


def test_visitors_are_stored_as_hashes_only() -> None:
    partition = product.Partition(KEYS)
    secret = "somebody@example.org"
    partition.apply(
        [
            {
                "event": "page_view",
                "visitor_id": secret,
                "session_id": secret,
                "event_id": secret,
                "timestamp": NOON,
            }
        ]
    )
    assert all(secret.encode() not in record for record in full(partition.shard))


SHORT: dict[str, Any] = {
    "windows": ["1m"],
    "goals": GOALS,
    "dimensions": {"device": {}},
    "allowed_lateness": "0ms",
    "session_gap": "30m",
}


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([(0, "m", None), (59_000, None, None), (100_000, None, None)], id="never away for long"),
        pytest.param([(0, None, None), (60_001, None, None), (60_001, "m", "s1")], id="session returns"),
    ],
)
def test_who_returns_is_known_whatever_the_batches(events: list[Any]) -> None:
    shown = [
        {"event": "page_view", "visitor_id": "v", "timestamp": NOON + at}
        | ({"device": device} if device else {})
        | ({"session_id": session} if session else {})
        for at, device, session in events
    ]
    for cuts in ((), (1,), (2,), (1, 2)):
        found = oracle.table(product.rows(SHORT, [shown], cuts=cuts))
        assert found == oracle.table(oracle.rows(SHORT, [shown])), cuts


def test_a_dimension_that_was_away_for_a_while_is_no_younger_for_it() -> None:
    """What is known of it stays as old as it is: a late event with a later value wins."""
    of_visitor = {"event": "page_view", "visitor_id": "v"}
    without = {**KEYS, "dimensions": {"device": {}}, "allowed_lateness": "290s"}
    keys = {**KEYS, "allowed_lateness": "290s"}
    first = product.Partition(keys)
    first.apply([of_visitor | {"timestamp": NOON, "country": "DE", "device": "m"}])
    records = [state.delta(first.shard)]
    second = product.Partition(without)
    second.shard = load(records, without)
    second.apply([of_visitor | {"timestamp": NOON + 200_000, "device": "m"}])
    records.append(state.delta(second.shard))
    third = product.Partition(keys)
    third.shard = load(records, keys)
    third.apply([of_visitor | {"timestamp": NOON + 100_000, "country": "FR"}])
    countries = {r.value: r.visitors for r in product.total(keys, [third]) if r.dimension == "country"}
    assert countries == {"FR": 1}


@pytest.mark.parametrize("late", [[], [{"country": "FR"}]])
def test_a_value_carried_very_long_ago_is_held_and_gives_way_to_a_late_one(
    late: list[dict[str, str]],
) -> None:
    """40 days ago: a row tells ages up to 24 days apart, and whatever still comes is younger."""
    keys = {**KEYS, "windows": ["1h"]}
    of_visitor = {"event": "page_view", "visitor_id": "v"}
    half_hour, halves = 1_800_000, 40 * 48
    comes = [of_visitor | {"timestamp": NOON + i * half_hour} for i in range(1, halves)]
    at = {"timestamp": NOON + (halves - 1) * half_hour - 20_000}
    shown = [
        of_visitor | {"timestamp": NOON, "country": "DE"},
        *comes,
        *(of_visitor | at | one for one in late),
    ]
    found = product.rows(keys, [shown], cuts=range(500, len(comes), 500))
    assert oracle.table(found) == oracle.table(oracle.rows(keys, [shown]))
    assert {r.value for r in found if r.dimension == "country" and r.visitors} == {"FR" if late else "DE"}
