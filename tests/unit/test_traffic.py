"""The simulated shop: the same for the same seed, lifelike in its proportions, broken on demand."""

from collections import Counter, defaultdict
from itertools import pairwise

import msgspec
import orjson
import pytest

from monitor.rules import Rules
from monitor.windows import Window
from streams.events import Decoder
from streams.traffic import DAY_MS, DEVICES, Outage, Profile, Shop, burst

NOON = 1_700_049_600_000  # 2023-11-15 12:00 UTC
HOUR = 3_600_000


@pytest.fixture(scope="module")
def hour():
    """An hour of a shop without a day's curve."""
    return Shop(Profile(rate=25, swing=0), NOON, seed=1).until(NOON + HOUR)


def test_every_event_keeps_the_contract(hour):
    decoder = Decoder(Rules((Window.parse("1m"),), ()))
    decoded = decoder.decode([orjson.dumps(e) for e in hour], NOON + HOUR)
    assert decoded.rejected == []


def test_same_seed_same_events_whatever_the_steps():
    whole = Shop(Profile(), NOON, seed=7).until(NOON + 60_000)
    stepwise = Shop(Profile(), NOON, seed=7)
    steps = [e for end in range(NOON + 1_000, NOON + 60_001, 1_000) for e in stepwise.until(end)]
    assert whole == steps
    assert whole != Shop(Profile(), NOON, seed=8).until(NOON + 60_000)
    assert stepwise.arrived_ms == NOON + 60_000


def test_rate_is_the_one_asked_for(hour):
    assert len(hour) == pytest.approx(25 * 3600, rel=0.03)


def test_events_come_in_order_of_time_but_for_repeats(hour):
    ids = Counter(e["event_id"] for e in hour)
    repeated = {i for i, count in ids.items() if count > 1}
    assert 0.0005 < len(repeated) / len(ids) < 0.002
    once = [e["timestamp"] for e in hour if e["event_id"] not in repeated]
    assert once == sorted(once)
    assert NOON <= once[0]
    assert once[-1] < NOON + HOUR


def test_funnel_narrows_and_a_step_follows_the_one_before(hour):
    steps = ["page_view", "view_item", "add_to_cart", "begin_checkout", "purchase"]
    sessions = defaultdict(list)
    for event in hour:
        if event["event"] in steps and event["event"] not in sessions[event["session_id"]]:
            sessions[event["session_id"]].append(event["event"])
    reached = Counter(len(seen) for seen in sessions.values())
    assert all(seen == steps[: len(seen)] for seen in sessions.values())
    at_least = [sum(n for k, n in reached.items() if k >= depth) for depth in range(1, 6)]
    assert all(b < a for a, b in pairwise(at_least))
    assert 0.03 < at_least[4] / at_least[0] < 0.05


def test_devices_channels_and_countries_are_those_of_visitors(hour):
    by_visitor = defaultdict(set)
    for event in hour:
        by_visitor[event["visitor_id"]].add((event["country"], event["variant"]["checkout_button"]))
    assert all(len(values) == 1 for values in by_visitor.values())
    devices = defaultdict(set)
    for event in hour:
        devices[event["visitor_id"]].add(event["device"])
    several = sum(len(d) > 1 for d in devices.values()) / len(devices)
    assert 0.05 < several < 0.5
    assert {e["device"] for e in hour} == set(DEVICES)
    assert {e["channel"] for e in hour} == {"organic", "paid", "direct", "email", "social"}


def test_visitors_return_and_few_return_often(hour):
    visits = Counter(v for v, _ in {(e["visitor_id"], e["session_id"]) for e in hour})
    counts = sorted(visits.values(), reverse=True)
    assert sum(counts[: len(counts) // 10]) > 0.2 * sum(counts)
    assert counts[0] < 0.02 * sum(counts)


def test_purchases_carry_exact_amounts_and_their_own_transaction(hour):
    purchases = {e["event_id"]: e for e in hour if e["event"] == "purchase"}.values()
    assert all(msgspec.convert(e["value"], str).count(".") == 1 for e in purchases)
    assert len({e["transaction_id"] for e in purchases}) == len(purchases)
    assert {e["currency"] for e in purchases} == {"EUR", "USD", "GBP", "CHF"}


def test_outage_stops_mobile_purchases_and_no_others():
    outage = Outage(NOON + HOUR // 4, NOON + HOUR // 2)
    events = Shop(Profile(rate=30, swing=0, outage=outage), NOON, seed=1).until(NOON + HOUR)
    bought = defaultdict(Counter)
    for event in events:
        quarter = (event["timestamp"] - NOON) // (HOUR // 4)
        if event["event"] == "purchase":
            bought[event["device"]][quarter] += 1
        assert event["producer"] == f"web-shop/2.14.{(0, 1, 2, 2)[quarter]}"
    assert bought["mobile"][1] == 0
    assert min(bought["mobile"][q] for q in (0, 2, 3)) > 30
    assert min(bought["desktop"][q] for q in range(4)) > 30
    assert any(e.get("page") == "/checkout/error" for e in events)


def test_the_day_has_a_curve_that_can_be_compressed():
    profile = Profile(rate=20, day_ms=HOUR, swing=0.8)
    events = Shop(profile, NOON, seed=1).until(NOON + HOUR)
    per_tenth = Counter((e["timestamp"] - NOON) * 10 // HOUR for e in events)
    assert max(per_tenth.values()) > 4 * min(per_tenth.values())
    assert Profile().level(NOON // DAY_MS * DAY_MS + 4 * HOUR) == pytest.approx(0.5)
    assert Profile().level(NOON // DAY_MS * DAY_MS + 16 * HOUR) == pytest.approx(1.5)


def test_burst_is_valid_keyed_and_in_order():
    messages = list(burst(60_000, visitors=500, dimensions={"device": 2, "properties.shop": 7}))
    decoded = Decoder(Rules((Window.parse("1m"),), ())).decode([v for _, v in messages], 2_000_000_000_000)
    assert decoded.rejected == []
    assert [e.visitor_id.encode() for e in decoded.events] == [k for k, _ in messages]
    times = [e.timestamp for e in decoded.events]
    assert times == sorted(times)
    assert times[-1] < 1_700_000_000_000 + 600_000
    assert {e.device for e in decoded.events} == {"device-0", "device-1"}
    assert len({e.properties["shop"] for e in decoded.events}) == 7
    assert len({e.event_id for e in decoded.events}) == 60_000
    assert Counter(e.event for e in decoded.events)["purchase"] == pytest.approx(2_400, rel=0.1)


def test_burst_is_the_same_for_the_same_seed():
    assert list(burst(1_000, seed=3)) == list(burst(1_000, seed=3)) != list(burst(1_000, seed=4))


@pytest.mark.parametrize(("exponent", "share"), [(0.0, 0.01), (1.0, 0.19), (1.5, 0.41)])
def test_burst_follows_zipf(exponent, share):
    keys = Counter(k for k, _ in burst(50_000, visitors=100, exponent=exponent))
    assert keys[b"v0"] / 50_000 == pytest.approx(share, rel=0.1)


def test_burst_of_nothing():
    assert list(burst(0)) == []
