"""Bad input is data: every kind of it gets its reason, and none of it is an exception."""

from __future__ import annotations

import json

import pytest

from streams.events import REASONS, Decoder
from tests.bad_input import BAD, GOOD_JSON, NOW, ODD, WHEN, Bad
from tests.product import rules_of

RULES = rules_of(
    {"goals": {"purchase": {"match": {"event": "purchase"}}}, "dimensions": {"device": {}, "brand": {}}}
)


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(RULES)


def test_there_are_at_least_twenty_kinds_and_every_reason_of_the_contract() -> None:
    assert len(BAD) >= 20
    assert {reason for bad in BAD for reason in bad.reasons} == set(REASONS)


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_bad_message_gets_its_reason_and_the_good_ones_around_it_count(decoder: Decoder, bad: Bad) -> None:
    decoded = decoder.decode([GOOD_JSON, bad.value, GOOD_JSON], NOW)
    assert [rejected.position for rejected in decoded.rejected] == [1]
    assert decoded.rejected[0].reason in bad.reasons
    assert [event.visitor_id for event in decoded.events] == ["v-good", "v-good"]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_the_detail_is_short_and_quotes_nothing_of_the_message(decoder: Decoder, bad: Bad) -> None:
    (rejected,) = decoder.decode([bad.value], NOW).rejected
    assert 0 < len(rejected.detail) <= 300
    assert "v-good" not in rejected.detail
    assert "mobile" not in rejected.detail


def test_all_kinds_in_one_batch(decoder: Decoder) -> None:
    values = [value for bad in BAD for value in (bad.value, GOOD_JSON)]
    decoded = decoder.decode(values, NOW)
    assert [rejected.position for rejected in decoded.rejected] == list(range(0, len(values), 2))
    assert len(decoded.events) == len(BAD)


@pytest.mark.parametrize(("name", "value"), ODD, ids=[name for name, _ in ODD])
def test_an_odd_event_counts(decoder: Decoder, name: str, value: bytes) -> None:
    decoded = decoder.decode([value], NOW)
    assert not decoded.rejected
    assert len(decoded.events) == 1


@pytest.mark.parametrize(("name", "value"), ODD, ids=[name for name, _ in ODD])
def test_an_odd_event_is_read_alike_alone_and_among_bad_ones(
    decoder: Decoder, name: str, value: bytes
) -> None:
    """The quick way over a good batch and the slow one beside a bad message must agree."""
    (alone,) = Decoder(RULES).decode([value], NOW).events
    (beside_bad,) = decoder.decode([b"{", value], NOW).events
    assert alone == beside_bad


def test_the_same_key_twice_counts_the_last_one(decoder: Decoder) -> None:
    (event,) = decoder.decode([dict(ODD)["the same key twice: the last one counts"]], NOW).events
    assert event.device == "desktop"


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2024-01-15T12:00:00Z", WHEN),
        ("2024-01-15T14:00:00.000+02:00", WHEN),
        ("2024-01-15T12:00:00.001999Z", WHEN + 1),
        ("2024-01-15T11:59:59.9999Z", WHEN - 1),
    ],
)
def test_a_time_is_cut_to_milliseconds(decoder: Decoder, text: str, ms: int) -> None:
    message = json.loads(GOOD_JSON) | {"timestamp": text}
    (event,) = decoder.decode([json.dumps(message).encode()], NOW).events
    assert event.timestamp == ms


def test_an_empty_batch_is_fine(decoder: Decoder) -> None:
    decoded = decoder.decode([], NOW)
    assert (decoded.events, decoded.rejected) == ([], [])


def test_a_name_is_not_remembered_as_good_because_it_stood_in_a_bad_event(decoder: Decoder) -> None:
    message = json.loads(GOOD_JSON) | {"event": "bad/name"}
    value = json.dumps(message).encode()
    for _ in range(2):
        (rejected,) = decoder.decode([value], NOW).rejected
        assert rejected.reason == "bad_field"
