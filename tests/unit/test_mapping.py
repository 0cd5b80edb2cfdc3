"""Rows to events: which column a field takes, what is kept exactly, what is told."""

import io
import json

import pytest

from streams.mapping import Mapped, Mapper, field_fault
from streams.rows import read_csv, read_json_lines

SHOP = Mapper(
    columns={
        "timestamp": "event_time",
        "event": "event_type",
        "visitor_id": "user_id",
        "session_id": "user_session",
        "value": "price",
        "properties.brand": "brand",
    },
    renames={"event": {"view": "page_view", "cart": "add_to_cart"}},
    constants={"currency": "USD"},
)
SHOP_CSV = b"""event_time,event_type,product_id,brand,price,user_id,user_session
2019-10-01 00:00:00 UTC,view,44600062,shiseido,35.70,541312140,s-1
2019-10-01 00:00:01 UTC,purchase,3900821,,1033.20,554748717,s-2
"""


def map_csv(mapper: Mapper, text: bytes):
    return [mapper.map(row) for row in read_csv(io.BytesIO(text))]


def map_json(mapper: Mapper, *objects):
    lines = b"\n".join(o if isinstance(o, bytes) else json.dumps(o).encode() for o in objects)
    return [mapper.map(row) for row in read_json_lines(io.BytesIO(lines))]


def event(mapped):
    assert isinstance(mapped, Mapped), mapped
    return json.loads(mapped.value)


GOOD = {"event": "page_view", "visitor_id": "v", "timestamp": 1_569_888_000_000}


def test_a_shops_row_becomes_an_event_of_the_contract():
    first, second = map_csv(SHOP, SHOP_CSV)
    assert event(first) == {
        "event": "page_view",
        "visitor_id": "541312140",
        "timestamp": 1_569_888_000_000,
        "session_id": "s-1",
        "value": "35.70",  # the exact text: never a float
        "currency": "USD",
        "properties": {"brand": "shiseido"},
    }
    assert (first.key, first.time_ms) == (b"541312140", 1_569_888_000_000)
    assert event(second)["event"] == "purchase"
    assert "properties" not in event(second)  # an empty cell is not sent


def test_a_column_called_like_the_field_needs_no_map():
    text = b"event,visitor_id,timestamp,device,properties.brand,variant.price,other\n"
    (mapped,) = map_csv(Mapper(), text + b"purchase,v,1569888000,mobile,acme,B,x\n")
    assert event(mapped) == {
        "event": "purchase",
        "visitor_id": "v",
        "timestamp": 1_569_888_000_000,
        "device": "mobile",
        "properties": {"brand": "acme"},
        "variant": {"price": "B"},
    }


def test_a_mapped_column_beats_the_one_of_the_same_name_and_a_constant_both():
    text = b"event,visitor_id,timestamp,device,kind\npurchase,v,1569888000,mobile,tablet\n"
    assert event(map_csv(Mapper({"device": "kind"}), text)[0])["device"] == "tablet"
    mapper = Mapper({"device": "kind"}, constants={"device": "desktop"})
    assert event(map_csv(mapper, text)[0])["device"] == "desktop"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"2019-10-01 00:00:00 UTC,view,1,b,1.00,,s", "missing_field"),
        (b"2019-10-01 00:00:00,view,1,b,1.00,u,s", "bad_timestamp: a time without zone"),
        (b",view,1,b,1.00,u,s", "missing_field"),
        (b"2019-10-01 00:00:00 UTC,view,1,b,free,u,s", "bad_field"),
        (b"2019-10-01 00:00:00 UTC,view,1,b,-1,u,s", "bad_field: value: negative"),
        (b"2019-10-01 00:00:00 UTC,v!ew,1,b,1.00,u,s", "bad_field: event"),
        (b"1969-10-01 00:00:00 UTC,view,1,b,1.00,u,s", "bad_timestamp"),
        (b"2019-10-01 00:00:00 UTC,view,1,b", "4 columns, the header has 7"),
    ],
)
def test_what_breaks_the_contract_is_told_and_quotes_no_value(row, reason):
    (fault,) = map_csv(SHOP, SHOP_CSV.splitlines(keepends=True)[0] + row)
    assert isinstance(fault, str)
    assert fault.startswith(reason)


def test_an_event_passes_byte_for_byte():
    raw = (
        b'{ "visitor_id":"v", "event":"purchase","timestamp":"2019-10-01T00:00:00Z", "value":12.10, "x":[1]}'
    )
    (mapped,) = map_json(Mapper(), raw)
    assert mapped.value == raw
    assert (mapped.key, mapped.time_ms) == (b"v", 1_569_888_000_000)


def test_an_almost_event_is_mended_where_it_can_be():
    (mapped,) = map_json(Mapper(), {**GOOD, "visitor_id": 17, "timestamp": 1_569_888_000})
    assert event(mapped) == {**GOOD, "visitor_id": "17"}


def test_a_nested_object_is_mapped_by_dotted_path():
    mapper = Mapper(
        {"visitor_id": "user.id", "event": "type", "timestamp": "at", "properties.plan": "user.plan"}
    )
    (mapped,) = map_json(
        mapper, {"type": "sign_up", "at": "2019-10-01T00:00:00Z", "user": {"id": 9, "plan": "pro"}}
    )
    assert event(mapped) == {
        "event": "sign_up",
        "visitor_id": "9",
        "timestamp": 1_569_888_000_000,
        "properties": {"plan": "pro"},
    }


def test_an_amount_in_json_keeps_its_digits_when_the_event_is_written_anew():
    line = b'{"event":"purchase","visitor_id":"v","timestamp":1569888000000,"value":0.100000000000000001}'
    (mapped,) = map_json(Mapper(constants={"currency": "EUR"}), line)
    assert b'"value":0.100000000000000001' in mapped.value


def test_properties_of_the_row_stay_and_are_added_to():
    (mapped,) = map_json(
        Mapper(constants={"properties.shop": "de"}), {**GOOD, "properties": {"brand": "acme"}}
    )
    assert event(mapped)["properties"] == {"brand": "acme", "shop": "de"}


def test_renames_reach_every_field_and_leave_other_values():
    mapper = Mapper(
        renames={"device": {"M": "mobile", "1": "tablet"}, "properties.form": {"nl": "newsletter"}}
    )
    rows = [
        {**GOOD, "device": "M"},
        {**GOOD, "device": 1},
        {**GOOD, "device": "desktop", "properties": {"form": "nl"}},
    ]
    events = [event(m) for m in map_json(mapper, *rows)]
    assert [e["device"] for e in events] == ["mobile", "tablet", "desktop"]
    assert events[2]["properties"] == {"form": "newsletter"}


def test_an_id_is_made_from_prefix_and_line_where_the_row_has_none():
    rows = [GOOD, {**GOOD, "event_id": "own"}, {**GOOD, "event_id": None}]
    events = [event(m) for m in map_json(Mapper(id_prefix="day.jsonl"), *rows)]
    assert [e["event_id"] for e in events] == ["day.jsonl:1", "own", "day.jsonl:3"]


def test_event_times_are_shifted():
    (mapped,) = map_json(Mapper(shift_ms=5_000), {**GOOD, "timestamp": "2019-10-01T00:00:00Z"})
    assert mapped.time_ms == event(mapped)["timestamp"] == 1_569_888_005_000


def test_an_event_of_the_future_is_the_workers_to_judge():
    (mapped,) = map_json(Mapper(), {**GOOD, "timestamp": "2300-01-01T00:00:00Z"})
    assert isinstance(mapped, Mapped)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"event": "page_view"}, "missing_field"),
        ({**GOOD, "properties": "no"}, "bad_field"),
        ({**GOOD, "visitor_id": ""}, "bad_field"),
        ({**GOOD, "visitor_id": True}, "bad_field"),
        ({**GOOD, "page": "x" * 300_000}, "too_large"),
        (b"[]", "not a JSON object"),
        (b"{", "not JSON"),
    ],
)
def test_json_that_breaks_the_contract_is_told(row, reason):
    (fault,) = map_json(Mapper(constants={"currency": "EUR"}), row)
    assert isinstance(fault, str)
    assert fault.startswith(reason)


def test_columns_that_are_not_there_are_found_before_anything_is_sent():
    assert SHOP.missing_columns(["event_time", "event_type", "user_id", "price", "brand"]) == {
        "session_id": "user_session"
    }


@pytest.mark.parametrize("name", ["event", "visitor_id", "value", "properties.x", "variant.x.y", "producer"])
def test_fields_that_can_be_mapped(name):
    assert field_fault(name) is None


@pytest.mark.parametrize("name", ["visitor", "properties", "variant.", "", "device.x"])
def test_fields_that_cannot(name):
    assert "it has event, visitor_id" in field_fault(name)
