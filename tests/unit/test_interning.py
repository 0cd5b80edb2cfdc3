"""Texts that come again are the same string; nothing else about an event changes."""

import json

import msgspec
import pytest

from monitor.rules import Dimension, Rules
from monitor.windows import Window
from streams import interning
from streams.events import Decoder, Event
from streams.interning import Interning

NOW = 1_800_000_000_000
RULES = Rules(
    (Window.parse("1m"),), (), dimensions=(Dimension("device", "device"), Dimension("page", "page"))
)


def message(**fields: object) -> bytes:
    return json.dumps({"event": "view", "visitor_id": "v", "timestamp": NOW, **fields}).encode()


@pytest.fixture
def learns_from_four(monkeypatch):
    monkeypatch.setattr(interning, "LEARN", 4)


def decoded(decoder: Decoder, *values: bytes) -> list[dict]:
    found = decoder.decode(values, NOW)
    assert not found.rejected
    return [msgspec.structs.asdict(event) for event in found.events]


@pytest.mark.usefixtures("learns_from_four")
def test_a_text_that_came_before_is_the_same_string():
    decoder = Decoder(RULES)
    seen = [message(device="mobile", page=f"/{i}") for i in range(4)]
    decoder.decode(seen, NOW)
    escaped = seen[0].replace(b"mobile", rb"mo\u0062ile")
    first, again = decoder.decode([seen[0], escaped], NOW).events
    assert first.device is again.device
    assert first.page is again.page
    assert first.visitor_id is not again.visitor_id
    assert isinstance(first, Event)


@pytest.mark.usefixtures("learns_from_four")
@pytest.mark.parametrize(
    "fields",
    [
        {"device": "tablet"},
        {"event": "purchase", "value": 12.5, "currency": "EUR"},
        {"page": ""},
        {"page": "/ü"},
        {"device": None},
        {"properties": {"form": "a"}, "variant": {"checkout": "b"}},
    ],
)
def test_a_new_text_is_decoded_like_any_other_and_known_from_then_on(fields):
    decoder = Decoder(RULES)
    decoder.decode([message(device="mobile", page="/0")] * 4, NOW)
    wanted = decoded(Decoder(RULES), message(device="mobile"), message(**fields))
    for _ in range(3):
        assert decoded(decoder, message(device="mobile"), message(**fields)) == wanted
    (one,), (two,) = (decoder.decode([message(**fields)], NOW).events for _ in range(2))
    assert [getattr(one, name) is getattr(two, name) for name in ("event", "device", "page")] == [True] * 3


@pytest.mark.usefixtures("learns_from_four")
def test_what_is_wrong_with_an_event_is_told_as_before():
    decoder = Decoder(RULES)
    decoder.decode([message(device="mobile")] * 4, NOW)
    bad = [message(device=7), message(event="new", device="x" * 129), message(event="no/slash"), b"{", None]
    assert decoder.decode(bad, NOW) == Decoder(RULES).decode(bad, NOW)


@pytest.mark.usefixtures("learns_from_four")
def test_a_field_of_very_many_texts_is_let_alone(monkeypatch):
    monkeypatch.setattr(interning, "MOST_TEXTS", 5)
    of = Interning(Event, ["event", "page"])
    plain = msgspec.json.Decoder(Event).decode
    of.met([plain(message(page=f"/{i}")) for i in range(6)])
    assert of.learning <= 0
    new = of.decode(message(page="/new"))
    assert new.page == "/new"
    with pytest.raises(msgspec.ValidationError):
        of.decode(message(event="new"))


def test_it_looks_first():
    of = Interning(Event, ["event"])
    of.met([of.decode(message())])
    assert of.learning == interning.LEARN - 1
    assert of.decode(message(event="other")).event == "other"
