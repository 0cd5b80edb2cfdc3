"""The definition in numbers worked out by hand, asked of the oracle and of the product alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import pytest

from tests import oracle, product

Count = Callable[..., Sequence[Any]]

#: 2024-01-15 12:00 UTC: an edge of every pane.
NOON = 1_705_320_000_000
SECOND = 1_000
MINUTE = 60_000
HOUR = 60 * MINUTE
PURCHASE = {"purchase": {"match": {"event": "purchase"}, "revenue": "value"}}


@pytest.fixture(params=[oracle.rows, product.rows], ids=["oracle", "product"])
def count(request: pytest.FixtureRequest) -> Count:
    """Whoever counts: keys of the config, events of each partition, time → rows."""
    counter: Count = request.param
    return counter


def keys(**changes: Any) -> dict[str, Any]:
    return {"windows": ["1m", "5m", "1h", "24h"], "goals": PURCHASE} | changes


def view(visitor: str, t: int, **fields: Any) -> dict[str, Any]:
    return {"event": "page_view", "visitor_id": visitor, "timestamp": t} | fields


def buy(visitor: str, t: int, **fields: Any) -> dict[str, Any]:
    return {"event": "purchase", "visitor_id": visitor, "timestamp": t} | fields


def numbers(rows: Sequence[Any], window: str, dimension: str = "all", value: str = "all") -> dict[str, Any]:
    return oracle.table(rows).get((window, dimension, value), {})


def rate(rows: Sequence[Any], window: str) -> Fraction:
    found = numbers(rows, window)
    return Fraction(found.get("purchase.converters", 0), found["visitors"])


# --- what a rate is ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("buyers", "visitors", "expected"), [(18, 450, "4/100"), (10_000, 100_000, "1/10")])
def test_buyers_of_visitors(count: Count, buyers: int, visitors: int, expected: str) -> None:
    events = [(buy if i < buyers else view)(f"v{i}", NOON + i % 50_000) for i in range(visitors)]
    events.sort(key=lambda e: e["timestamp"])
    rows = count(keys(), [events])
    assert numbers(rows, "1m")["visitors"] == visitors
    for window in ("1m", "5m", "1h", "24h"):
        assert rate(rows, window) == Fraction(expected)


def test_a_window_asks_only_the_visitors_of_its_own_span(count: Count) -> None:
    """100 in 30 minutes, 10 of them in the last 5, 5 of those buy: 50 % of those 10, and 5 % of all."""
    early = [view(f"v{i}", NOON + i * 10 * SECOND) for i in range(90)]
    last = [view(f"w{i}", NOON + 27 * MINUTE + i * SECOND) for i in range(10)]
    buyers = [buy(f"w{i}", NOON + 28 * MINUTE + i * SECOND) for i in range(5)]
    rows = count(keys(windows=["5m", "30m"]), [early + last + buyers])
    assert numbers(rows, "5m") == {
        "visitors": 10,
        "sessions": 10,
        "purchase.converters": 5,
        "purchase.conversions": 5,
        "purchase.converting_sessions": 5,
    }
    assert rate(rows, "5m") == Fraction(1, 2)
    assert numbers(rows, "30m")["visitors"] == 100
    assert rate(rows, "30m") == Fraction(5, 100)


def test_buyers_of_before_do_not_meet_visitors_of_now(count: Count) -> None:
    """Buyers of the last 30 minutes over visitors of the last 5 would be 50/10: the rate is 0 of 10."""
    early = [buy(f"v{i}", NOON + i * SECOND) for i in range(50)]
    last = [view(f"w{i}", NOON + 20 * MINUTE + i) for i in range(10)]
    rows = count(keys(windows=["5m", "30m"]), [early + last])
    assert rate(rows, "5m") == 0
    assert rate(rows, "30m") == Fraction(50, 60)


def test_three_orders_of_one_visitor_are_one_converter_and_three_conversions(count: Count) -> None:
    orders = [
        buy("v", NOON + i * SECOND, value=amount, transaction_id=f"t{i}")
        for i, amount in enumerate(["0.1", "0.2", 100])
    ]
    rows = count(keys(), [orders])
    assert rate(rows, "1m") == 1
    assert numbers(rows, "1m") == {
        "visitors": 1,
        "sessions": 1,
        "purchase.converters": 1,
        "purchase.conversions": 3,
        "purchase.converting_sessions": 1,
        "purchase.revenue.USD": Fraction("100.3"),
    }


def test_a_buyer_who_comes_back_later_is_a_visitor_of_the_short_window_but_no_converter_there(
    count: Count,
) -> None:
    rows = count(keys(), [[buy("v", NOON), view("v", NOON + 2 * MINUTE)]])
    assert rate(rows, "1m") == 0
    assert rate(rows, "5m") == 1


def test_no_event_no_visitor(count: Count) -> None:
    rows = count(keys(), [[], []])
    assert oracle.table(rows) == {}
    assert {(row.window, row.dimension) for row in rows} == {(w, "all") for w in ("1m", "5m", "1h", "24h")}


# --- panes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "pane"),
    [
        ("1s", 1),
        ("7s", 1),
        ("59s", 1),
        ("1m", 1),
        ("5m", 5),
        ("7m", 5),
        ("15m", 15),
        ("30m", 30),
        ("1h", 60),
        ("90m", 60),
        ("5h", 300),
        ("24h", 900),
        ("7d", 900),
    ],
)
def test_a_window_drops_its_oldest_pane_when_a_new_one_begins(count: Count, window: str, pane: int) -> None:
    """The running pane is included: an event at the start of pane k leaves when pane k + W/p begins."""
    length = oracle.duration(window)
    assert oracle.pane_of(length) == pane * SECOND
    leaves = NOON + length
    rules = keys(windows=[window])
    assert numbers(count(rules, [[view("v", NOON)]], leaves - 1), window) == {"visitors": 1, "sessions": 1}
    assert numbers(count(rules, [[view("v", NOON)]], leaves), window) == {}
    last_of_its_pane = NOON + pane * SECOND - 1
    assert numbers(count(rules, [[view("v", last_of_its_pane)]], leaves - 1), window) == {
        "visitors": 1,
        "sessions": 1,
    }
    assert numbers(count(rules, [[view("v", last_of_its_pane)]], leaves), window) == {}


def test_a_visitor_who_is_seen_again_moves_and_is_not_counted_twice(count: Count) -> None:
    seen = [view("v", NOON + i * SECOND) for i in range(0, 300, 7)]
    rows = count(keys(), [seen])
    for window in ("1m", "5m", "1h", "24h"):
        assert numbers(rows, window) == {"visitors": 1, "sessions": 1}


# --- late and repeated --------------------------------------------------------------------------------


def test_an_event_exactly_at_the_allowed_lateness_counts_and_one_later_does_not(count: Count) -> None:
    rows = count(
        keys(),
        [[view("a", NOON), view("b", NOON - 30 * SECOND), view("c", NOON - 30 * SECOND - 1)]],
    )
    assert numbers(rows, "24h")["visitors"] == 2


def test_a_repeated_event_id_counts_once_even_with_another_content(count: Count) -> None:
    rows = count(
        keys(dimensions={"device": {}}),
        [
            [
                buy("v", NOON, event_id="e", device="mobile"),
                buy("v", NOON, event_id="e", device="mobile"),
                buy("w", NOON + 10 * MINUTE, event_id="e", device="tv"),
            ]
        ],
    )
    assert numbers(rows, "1h")["visitors"] == 1
    assert numbers(rows, "1h", "device", "mobile")["purchase.conversions"] == 1


def test_a_repeat_moves_neither_the_watermark_nor_the_visitor(count: Count) -> None:
    """The repeat is 10 minutes ahead; if it moved the watermark, the third event were late."""
    events = [view("v", NOON, event_id="e"), view("v", NOON + 10 * MINUTE, event_id="e"), view("w", NOON)]
    rows = count(keys(), [events])
    assert numbers(rows, "1m") == {"visitors": 2, "sessions": 2}


def test_an_event_id_counts_again_after_the_dedupe_window(count: Count) -> None:
    events = [buy("v", NOON, event_id="e"), buy("v", NOON + 10 * MINUTE + 1, event_id="e")]
    assert numbers(count(keys(), [events]), "1h")["purchase.conversions"] == 2


def test_a_repeated_transaction_is_a_visit_but_no_conversion(count: Count) -> None:
    events = [
        buy("v", NOON, transaction_id="t", value=10),
        buy("w", NOON + SECOND, transaction_id="t", value=10),
        buy("v", NOON + 2 * SECOND, transaction_id="t", value=10, session_id="s"),
    ]
    assert numbers(count(keys(), [events]), "1h") == {
        "visitors": 2,
        "sessions": 3,
        "purchase.converters": 1,
        "purchase.conversions": 1,
        "purchase.converting_sessions": 1,
        "purchase.revenue.USD": Fraction(10),
    }


def test_one_transaction_may_meet_two_goals(count: Count) -> None:
    goals = PURCHASE | {"gift": {"match": {"event": "purchase", "properties.gift": "true"}}}
    events = [
        buy("v", NOON, transaction_id="t"),
        buy("v", NOON + 1, transaction_id="t", properties={"gift": True}),
    ]
    found = numbers(count(keys(goals=goals), [events]), "1m")
    assert (found["purchase.conversions"], found["gift.conversions"]) == (1, 1)


def test_a_transaction_counts_again_after_the_longest_window(count: Count) -> None:
    rules = keys(windows=["1m"])
    events = [buy("v", NOON, transaction_id="t"), buy("v", NOON + MINUTE, transaction_id="t")]
    assert "purchase.conversions" not in numbers(count(rules, [events]), "1m")
    events[1] = buy("v", NOON + MINUTE + 1, transaction_id="t")
    assert numbers(count(rules, [events]), "1m")["purchase.conversions"] == 1


# --- values of dimensions -------------------------------------------------------------------------------

DEVICE = keys(dimensions={"device": {}})


def by_device(rows: Sequence[Any], number: str, window: str = "1h") -> dict[str, Any]:
    found = oracle.table(rows)
    return {
        value: cells[number]
        for (w, dimension, value), cells in found.items()
        if w == window and dimension == "device" and number in cells
    }


def test_a_visitor_has_the_value_of_his_latest_event_that_carries_it(count: Count) -> None:
    events = [
        view("v", NOON, device="mobile"),
        view("v", NOON + 2, device="tv"),
        view("v", NOON + 1, device="desktop"),
        view("v", NOON + 3),
        view("v", NOON + 4, device=""),
        view("v", NOON + 5, device=None),
    ]
    assert by_device(count(DEVICE, [events]), "visitors") == {"tv": 1}


@pytest.mark.parametrize("arrival", [("a", "b"), ("b", "a")])
def test_in_the_same_millisecond_the_greater_code_point_wins(count: Count, arrival: tuple[str, str]) -> None:
    values = {"a": "\uffff", "b": "\U0001f600"}  # greater by code point, smaller in UTF-16
    events = [view("v", NOON, device=values[name]) for name in arrival]
    assert by_device(count(DEVICE, [events]), "visitors") == {"\U0001f600": 1}


def test_who_never_carried_a_value_is_unknown(count: Count) -> None:
    rows = count(DEVICE, [[view("v", NOON), view("w", NOON, device="tv")]])
    assert by_device(rows, "visitors") == {"unknown": 1, "tv": 1}


def test_a_converter_moves_to_the_visitors_new_value_and_the_conversion_stays(count: Count) -> None:
    events = [
        view("v", NOON, device="mobile"),
        buy("v", NOON + 1, value=5),
        view("v", NOON + 2, device="tv"),
    ]
    rows = count(DEVICE, [events])
    assert by_device(rows, "visitors") == {"tv": 1}
    assert by_device(rows, "purchase.converters") == {"tv": 1}
    assert by_device(rows, "purchase.conversions") == {"mobile": 1}
    assert by_device(rows, "purchase.revenue.USD") == {"mobile": 5}


def test_a_conversion_that_carries_a_value_counts_there_even_if_the_visitor_has_a_later_one(
    count: Count,
) -> None:
    rows = count(DEVICE, [[view("v", NOON + 1, device="tv"), buy("v", NOON, device="mobile")]])
    assert by_device(rows, "visitors") == {"tv": 1}
    assert by_device(rows, "purchase.conversions") == {"mobile": 1}
    assert by_device(rows, "purchase.converters") == {"tv": 1}


@pytest.mark.parametrize("cut", [[], [1], [2], [1, 2]])
def test_a_visitor_who_never_paused_for_so_long_is_not_forgotten(cut: list[int]) -> None:
    """His first and last event are further apart than the longest window, none of his pauses is."""
    seen = [0, 400, MINUTE + 399]
    events = [view("v", NOON + t, **({} if t else {"device": "mobile"})) for t in seen]
    of_device = keys(windows=["1m"], dimensions={"device": {}}, allowed_lateness="0s")
    for rows in (oracle.rows(of_device, [events]), product.rows(of_device, [events], cuts=cut)):
        assert numbers(rows, "1m", "device", "mobile")["visitors"] == 1


def test_a_visitor_is_forgotten_after_the_longest_window(count: Count) -> None:
    rules = keys(windows=["1m"], dimensions={"device": {}})
    seen = view("v", NOON, device="mobile")
    still_known = count(rules, [[seen, view("v", NOON + MINUTE)]])
    assert by_device(still_known, "visitors", "1m") == {"mobile": 1}
    forgotten = count(rules, [[seen, view("v", NOON + MINUTE + 1)]])
    assert by_device(forgotten, "visitors", "1m") == {"unknown": 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (False, "false"), (1, "1"), (1.5, "1.5"), (3.0, "3"), (0, "0"), ("1", "1")],
)
def test_a_property_is_a_value_as_text(count: Count, value: object, text: str) -> None:
    rows = count(keys(dimensions={"step": {}}), [[view("v", NOON, properties={"step": value})]])
    assert numbers(rows, "1m", "step", text)["visitors"] == 1


@pytest.mark.parametrize("value", [None, ""])
def test_null_and_empty_are_no_value(count: Count, value: object) -> None:
    rows = count(keys(dimensions={"step": {}}), [[view("v", NOON, properties={"step": value})]])
    assert numbers(rows, "1m", "step", "unknown")["visitors"] == 1


def test_an_experiments_variant_is_a_value(count: Count) -> None:
    rules = keys(dimensions={"checkout": {"field": "variant.checkout"}})
    rows = count(rules, [[view("v", NOON, variant={"checkout": "b", "other": "c"}), view("w", NOON)]])
    assert numbers(rows, "1m", "checkout", "b")["visitors"] == 1
    assert numbers(rows, "1m", "checkout", "unknown")["visitors"] == 1


def test_too_many_values_are_other_the_largest_keep_their_rows(count: Count) -> None:
    devices = ["c", "c", "c", "b", "b", "a", "a", "d", None, "other"]
    events = [view(f"v{i}", NOON + i, device=device) for i, device in enumerate(devices)]
    rows = count(keys(dimensions={"device": {"max_values": 2}}), [events])
    # b and a have two visitors each: a comes first
    assert by_device(rows, "visitors") == {"c": 3, "a": 2, "other": 4, "unknown": 1}


def test_values_are_ranked_over_all_partitions(count: Count) -> None:
    one = [view(f"v{i}", NOON, device=d) for i, d in enumerate("aaab")]
    two = [view(f"w{i}", NOON, device=d) for i, d in enumerate("ccbbb")]
    rows = count(keys(dimensions={"device": {"max_values": 1}}), [one, two])
    assert by_device(rows, "visitors") == {"b": 4, "other": 5}


def test_a_new_value_that_is_the_largest_gets_its_row_however_many_came_before(count: Count) -> None:
    rules = keys(windows=["1m"], dimensions={"device": {"max_values": 2}})
    rare = [view(f"v{i}", NOON + i, device=f"rare-{i:03}") for i in range(300)]
    now = [view(f"w{i}", NOON + HOUR + i, device="new") for i in range(9)]
    assert by_device(count(rules, [rare + now]), "visitors", "1m") == {"new": 9}


# --- sessions -----------------------------------------------------------------------------------------


def test_one_session_id_under_two_visitors_is_two_sessions(count: Count) -> None:
    rows = count(keys(), [[view("v", NOON, session_id="s"), view("w", NOON, session_id="s")]])
    assert numbers(rows, "1m") == {"visitors": 2, "sessions": 2}


def test_a_pause_of_the_session_gap_is_the_same_session_and_a_longer_one_is_not(count: Count) -> None:
    rows = count(keys(), [[view("v", NOON), view("v", NOON + 30 * MINUTE)]])
    assert numbers(rows, "24h")["sessions"] == 1
    rows = count(keys(), [[view("v", NOON), view("v", NOON + 30 * MINUTE + 1)]])
    assert numbers(rows, "24h") == {"visitors": 1, "sessions": 2}


def test_a_late_event_joins_two_sessions(count: Count) -> None:
    rules = keys(session_gap="20s", allowed_lateness="15s", max_in_future="1s")
    events = [buy("v", NOON), view("v", NOON + 30 * SECOND), view("v", NOON + 15 * SECOND)]
    assert numbers(count(rules, [events[:2]]), "1m")["sessions"] == 2
    found = numbers(count(rules, [events]), "1m")
    assert (found["sessions"], found["purchase.converting_sessions"]) == (1, 1)


def test_joined_sessions_that_both_converted_are_one_converting_session(count: Count) -> None:
    rules = keys(session_gap="20s", allowed_lateness="15s", max_in_future="1s")
    events = [buy("v", NOON), buy("v", NOON + 30 * SECOND), view("v", NOON + 15 * SECOND)]
    assert numbers(count(rules, [events[:2]]), "1m")["purchase.converting_sessions"] == 2
    assert numbers(count(rules, [events]), "1m")["purchase.converting_sessions"] == 1


def test_a_named_session_knows_no_gap_and_does_not_join_the_nameless(count: Count) -> None:
    events = [
        view("v", NOON, session_id="s"),
        view("v", NOON + MINUTE),
        view("v", NOON + 2 * HOUR, session_id="s"),
    ]
    assert numbers(count(keys(), [events]), "24h") == {"visitors": 1, "sessions": 2}


def test_a_new_session_leaves_the_old_one_where_it_was_last_seen(count: Count) -> None:
    events = [
        view("v", NOON, session_id="old", device="mobile"),
        view("v", NOON + 10 * MINUTE, session_id="new", device="tv"),
    ]
    rows = count(DEVICE, [events])
    assert by_device(rows, "sessions") == {"mobile": 1, "tv": 1}
    assert by_device(rows, "sessions", "5m") == {"tv": 1}
    assert by_device(rows, "visitors") == {"tv": 1}


def test_a_session_that_carries_no_value_has_the_one_its_visitor_had_when_it_began(count: Count) -> None:
    events = [
        view("v", NOON, session_id="a", device="mobile"),
        view("v", NOON + 1, session_id="b"),
        view("v", NOON + 2, session_id="a", device="tv"),
        view("v", NOON + 3, session_id="b"),
    ]
    assert by_device(count(DEVICE, [events]), "sessions") == {"tv": 1, "mobile": 1}


# --- revenue ------------------------------------------------------------------------------------------


def test_revenue_is_exact_and_apart_by_currency(count: Count) -> None:
    rules = keys(
        goals={
            "purchase": {"match": {"event": "purchase"}, "revenue": "value", "default_currency": "EUR"},
        }
    )
    amounts = [
        ("0.1", None),
        (0.2, None),
        ("999999999999999.000000000000000001", "USD"),
        ("0.000000000000000001", "USD"),
        (10**14, "USD"),
        ("1e-18", "JPY"),
        (0, "GBP"),
        (None, "CHF"),
    ]
    events = [buy("v", NOON, value=value, currency=currency) for value, currency in amounts]
    found = numbers(count(rules, [events]), "1m")
    assert found["purchase.conversions"] == 8
    assert {name: found[name] for name in found if ".revenue." in name} == {
        "purchase.revenue.EUR": Fraction("0.3"),
        "purchase.revenue.USD": Fraction("1099999999999999.000000000000000002"),
        "purchase.revenue.JPY": Fraction(1, 10**18),
    }


def test_revenue_leaves_the_window_to_the_last_digit(count: Count) -> None:
    events = [
        buy("v", NOON, value="999999999999999.999999999999999999"),
        buy("v", NOON + MINUTE, value="0.000000000000000001"),
    ]
    assert numbers(count(keys(), [events]), "1m")["purchase.revenue.USD"] == Fraction(1, 10**18)


def test_partitions_add_up(count: Count) -> None:
    one = [buy("v", NOON, value="1.5"), view("w", NOON)]
    two = [buy("x", NOON, value="2.25", currency="EUR"), view("y", NOON + 2 * MINUTE)]
    rows = count(keys(), [one, two, []])
    assert numbers(rows, "1m") == {"visitors": 1, "sessions": 1}
    assert numbers(rows, "5m") == {
        "visitors": 4,
        "sessions": 4,
        "purchase.converters": 2,
        "purchase.conversions": 2,
        "purchase.converting_sessions": 2,
        "purchase.revenue.USD": Fraction(3, 2),
        "purchase.revenue.EUR": Fraction(9, 4),
    }


def test_the_watermark_is_each_partitions_own(count: Count) -> None:
    rows = count(keys(), [[view("v", NOON + HOUR)], [view("w", NOON)]])
    assert numbers(rows, "24h")["visitors"] == 2
