"""Messages that nobody can count, each with the reason of the contract, and near misses that do count.

Bytes as a publisher would send them; None is a tombstone. Most are a spoilt copy of the event `GOOD`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

#: Event time of every message here that is not about times: 2024-01-15 12:00 UTC in epoch ms.
WHEN = 1_705_320_000_000
#: The clock by which they are judged: a minute later.
NOW = WHEN + 60_000

GOOD: dict[str, Any] = {
    "event": "purchase",
    "visitor_id": "v-good",
    "timestamp": WHEN,
    "session_id": "s-1",
    "device": "mobile",
    "value": "19.90",
    "currency": "EUR",
    "transaction_id": "t-good",
    "properties": {"brand": "acme", "step": 3},
}


def spoilt(**fields: Any) -> bytes:
    """The good event with other fields, as JSON."""
    return json.dumps(GOOD | fields).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


def raw(field: str, json_text: str) -> bytes:
    """The good event with one field given as JSON text, valid or not."""
    rest = json.dumps({key: value for key, value in GOOD.items() if key != field})[1:]
    return f'{{"{field}": {json_text}, {rest}'.encode()


@dataclass(frozen=True)
class Bad:
    """One bad message: a name for people, its bytes, the reasons of which any is right."""

    name: str
    value: bytes | None
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


def bad(name: str, value: bytes | None, *reasons: str) -> Bad:
    return Bad(name, value, reasons)


GOOD_JSON = json.dumps(GOOD).encode()

BAD: tuple[Bad, ...] = (
    # no JSON at all
    bad("tombstone", None, "empty"),
    bad("no bytes", b"", "empty"),
    bad("only blanks and newlines", b" \r\n\t\n ", "empty"),
    bad("plain text", b"purchase by v-1", "not_json"),
    bad("cut in the middle", GOOD_JSON[: len(GOOD_JSON) // 2], "not_json"),
    bad("cut UTF-8", raw("page", '"caf\u00e9"').split(b"\xa9")[0], "not_json"),
    bad("broken UTF-8 inside a text", raw("page", '"caf?"').replace(b"?", b"\xff"), "not_json"),
    bad("UTF-8 of a surrogate", raw("page", '"?"').replace(b"?", b"\xed\xa0\x80"), "not_json"),
    bad("overlong UTF-8", raw("page", '"?"').replace(b"?", b"\xc0\xaf"), "not_json"),
    bad("UTF-16", GOOD_JSON.decode().encode("utf-16"), "not_json"),
    bad("byte order mark", b"\xef\xbb\xbf" + GOOD_JSON, "not_json"),
    bad("zero bytes", b"\x00" * 64, "not_json"),
    bad("gzip", bytes.fromhex("1f8b0800000000000003ab5652"), "not_json"),
    bad("two documents", GOOD_JSON + GOOD_JSON, "not_json"),
    bad("two lines", GOOD_JSON + b"\n" + GOOD_JSON, "not_json"),
    bad("trailing comma", GOOD_JSON[:-1] + b",}", "not_json"),
    bad("single quotes", GOOD_JSON.replace(b'"', b"'"), "not_json"),
    bad("raw newline in a text", raw("page", '"/a\n/b"'), "not_json"),
    bad("raw zero byte in a text", raw("page", '"/a\0"'), "not_json"),
    bad("wrong escape", raw("page", r'"\x41"'), "not_json"),
    bad("lone high surrogate escape", raw("page", r'"\ud800"'), "not_json"),
    bad("lone low surrogate escape", raw("page", r'"\udc00x"'), "not_json"),
    bad("NaN as amount", raw("value", "NaN"), "not_json"),
    bad("Infinity as amount", raw("value", "Infinity"), "not_json"),
    bad("leading zeros", raw("value", "007"), "not_json"),
    bad("a comment", GOOD_JSON + b" // done", "not_json"),
    bad("10,000 open brackets", b"[" * 10_000, "not_json", "not_an_object"),
    # JSON, but no event
    bad("10,000 deep, closed", b"[" * 10_000 + b"]" * 10_000, "not_an_object", "not_json"),
    bad("10,000 deep in a field that is not read", raw("x", "[" * 10_000 + "]" * 10_000), "not_json"),
    bad("10,000 deep objects in properties", raw("properties", '{"a":' * 10_000 + "1" + "}" * 10_000),
        "bad_field", "not_json"),
    bad("an array", b"[" + GOOD_JSON + b"]", "not_an_object"),
    bad("a text", b'"purchase"', "not_an_object"),
    bad("a number", b"42", "not_an_object"),
    bad("null", b"null", "not_an_object"),
    bad("true", b"true", "not_an_object"),
    bad("an event as text in a text", json.dumps(GOOD_JSON.decode()).encode(), "not_an_object"),
    # missing fields
    bad("empty object", b"{}", "missing_field"),
    bad("no event", without("event"), "missing_field"),
    bad("no visitor_id", without("visitor_id"), "missing_field"),
    bad("no timestamp", without("timestamp"), "missing_field"),
    # wrong fields
    bad("empty event", spoilt(event=""), "bad_field"),
    bad("event of 65 characters", spoilt(event="e" * 65), "bad_field"),
    bad("event with a slash", spoilt(event="a/b"), "bad_field"),
    bad("event with a newline at its end", spoilt(event="purchase\n"), "bad_field"),
    bad("event with letters beyond A-Z", spoilt(event="käufe"), "bad_field"),
    bad("event with digits beyond 0-9", spoilt(event="step\u0663"), "bad_field"),
    bad("event is null", spoilt(event=None), "bad_field", "missing_field"),
    bad("event is a number", spoilt(event=7), "bad_field"),
    bad("empty visitor_id", spoilt(visitor_id=""), "bad_field"),
    bad("visitor_id of 129 characters", spoilt(visitor_id="v" * 129), "bad_field"),
    bad("visitor_id is a number", spoilt(visitor_id=541312140), "bad_field"),
    bad("visitor_id is null", spoilt(visitor_id=None), "bad_field", "missing_field"),
    bad("visitor_id is an array", spoilt(visitor_id=["v"]), "bad_field"),
    bad("visitor_id of 100,000 characters", spoilt(visitor_id="v" * 100_000), "bad_field", "too_large"),
    bad("empty session_id", spoilt(session_id=""), "bad_field"),
    bad("session_id is an object", spoilt(session_id={}), "bad_field"),
    bad("empty event_id", spoilt(event_id=""), "bad_field"),
    bad("page of 2,049 characters", spoilt(page="/" * 2049), "bad_field"),
    bad("device of 129 characters", spoilt(device="d" * 129), "bad_field"),
    bad("device is true", spoilt(device=True), "bad_field"),
    bad("variant is a text", spoilt(variant="b"), "bad_field"),
    bad("negative amount", spoilt(value=-1), "bad_field"),
    bad("negative amount as text", spoilt(value="-0.01"), "bad_field"),
    bad("amount 1e999", raw("value", "1e999"), "bad_field", "not_json"),
    bad("amount NaN as text", spoilt(value="NaN"), "bad_field"),
    bad("amount sNaN as text", spoilt(value="sNaN"), "bad_field"),
    bad("amount Infinity as text", spoilt(value="Infinity"), "bad_field"),
    bad("amount with a comma", spoilt(value="19,90"), "bad_field"),
    bad("amount with a currency sign", spoilt(value="19.90 €"), "bad_field"),
    bad("amount is true", spoilt(value=True), "bad_field"),
    bad("amount of 5,000 digits", raw("value", "9" * 5_000), "bad_field", "not_json"),
    bad("amount of 5,000 digits as text", spoilt(value="9" * 5_000), "bad_field"),
    bad("amount with a huge exponent as text", spoilt(value="1e999999999"), "bad_field"),
    bad("amount with a tiny exponent as text", spoilt(value="1e-999999999"), "bad_field"),
    bad("unknown currency", spoilt(currency="XXQ"), "bad_field"),
    bad("currency in small letters", spoilt(currency="eur"), "bad_field"),
    bad("currency is a number", spoilt(currency=978), "bad_field"),
    bad("properties is an array", spoilt(properties=[1, 2]), "bad_field"),
    bad("a property is an object", spoilt(properties={"a": {"b": 1}}), "bad_field"),
    bad("a property is an array", spoilt(properties={"a": [1]}), "bad_field"),
    bad("a property is 1e999", raw("properties", '{"a": 1e999}'), "bad_field", "not_json"),
    # times
    bad("1970", spoilt(timestamp=0), "bad_timestamp"),
    bad("epoch seconds", spoilt(timestamp=WHEN // 1000), "bad_timestamp"),
    bad("before 1970", spoilt(timestamp=-1), "bad_timestamp"),
    bad("the year 1", spoilt(timestamp="0001-01-01T00:00:00Z"), "bad_timestamp"),
    bad("1970 in RFC 3339", spoilt(timestamp="1970-01-01T00:00:00Z"), "bad_timestamp"),
    bad("2300", spoilt(timestamp=10_413_792_000_000), "in_future"),
    bad("2300 in RFC 3339", spoilt(timestamp="2300-01-01T00:00:00Z"), "in_future"),
    bad("9999 with an offset beyond it", spoilt(timestamp="9999-12-31T23:59:59-23:59"),
        "in_future", "bad_timestamp"),
    bad("the year 1, offset before it", spoilt(timestamp="0001-01-01T00:00:00+23:59"), "bad_timestamp"),
    bad("5 minutes and 1 ms ahead", spoilt(timestamp=NOW + 300_001), "in_future"),
    bad("microseconds", spoilt(timestamp=WHEN * 1000), "in_future", "bad_timestamp"),
    bad("time beyond 64 bits", raw("timestamp", "1" + "0" * 30), "bad_timestamp", "in_future"),
    bad("time without zone", spoilt(timestamp="2024-01-15T12:00:00"), "bad_timestamp"),
    bad("time with a wrong zone", spoilt(timestamp="2024-01-15T12:00:00 UTC"), "bad_timestamp"),
    bad("February 30", spoilt(timestamp="2024-02-30T12:00:00Z"), "bad_timestamp"),
    bad("time as text of digits", spoilt(timestamp=str(WHEN)), "bad_timestamp"),
    bad("time is empty", spoilt(timestamp=""), "bad_timestamp"),
    bad("time is null", spoilt(timestamp=None), "bad_timestamp", "missing_field"),
    bad("time with a fraction", raw("timestamp", f"{WHEN}.5"), "bad_timestamp"),
    bad("time is true", spoilt(timestamp=True), "bad_timestamp"),
    bad("time is NaN", raw("timestamp", "NaN"), "not_json"),
    # sizes
    bad("5 MB of blanks around an event", GOOD_JSON + b" " * 5_000_000, "too_large"),
    bad("a property of 5 MB", spoilt(properties={"note": "x" * 5_000_000}), "too_large"),
    bad("5 MB that are no JSON", b"x" * 5_000_000, "too_large"),
    bad("a million small properties", spoilt(properties={str(i): i for i in range(200_000)}), "too_large"),
)  # fmt: skip

#: Messages that look odd and are events all the same: they must be counted, not dead-lettered.
ODD: tuple[tuple[str, bytes], ...] = (
    ("unknown fields", spoilt(extra={"a": [1, {"b": None}]}, more=1e300)),
    ("blanks around it", b" \n" + GOOD_JSON + b"\r\n"),
    ("the same key twice: the last one counts", GOOD_JSON[:-1] + b', "device": "desktop"}'),
    ("escaped pair of surrogates", raw("page", r'"\ud83d\ude00"')),
    ("escaped zero byte", raw("page", r'"\u0000"')),
    ("visitor_id of 128 characters", spoilt(visitor_id="v" * 128)),
    ("visitor_id of 128 characters of 4 bytes", spoilt(visitor_id="\U0001f600" * 128)),
    ("visitor_id with a newline", spoilt(visitor_id="v\n1")),
    ("event of 64 characters", spoilt(event="e" * 64)),
    ("event of all kinds of characters", spoilt(event="Aa0_.:- z")),
    ("5 minutes ahead", spoilt(timestamp=NOW + 300_000)),
    ("RFC 3339 with an offset", spoilt(timestamp="2024-01-15T14:00:00.000+02:00")),
    ("RFC 3339 with microseconds", spoilt(timestamp="2024-01-15T12:00:00.000001Z")),
    ("RFC 3339 in small letters", spoilt(timestamp="2024-01-15t12:00:00z")),
    ("RFC 3339 with a blank", spoilt(timestamp="2024-01-15 12:00:00+00:00")),
    ("amount 0", spoilt(value=0)),
    ("amount −0", spoilt(value="-0")),
    ("amount as number", spoilt(value=19.9)),
    ("amount with an exponent", raw("value", "1.99e1")),
    ("optional fields are null",
     spoilt(session_id=None, device=None, value=None, currency=None, properties=None)),
    ("empty segment values", spoilt(device="", properties={"brand": ""})),
    ("a property of each kind", spoilt(properties={"a": 1, "b": 1.5, "c": True, "d": None, "e": "x"})),
    ("an integer of 30 digits as property", raw("properties", '{"brand": ' + "1" * 30 + "}")),
    ("a property of 10,000 characters", spoilt(properties={"note": "x" * 10_000})),
)  # fmt: skip
