"""The message between the stages, and whose messages count."""

from __future__ import annotations

import msgspec
import pytest

from monitor import counts
from streams import told
from streams.errors import StateError
from streams.ledger import Claim
from tests import product

KEYS = {
    "windows": ["1m"],
    "goals": {"buy": {"kind": "macro", "match": {"event": "purchase"}, "revenue": "value"}},
    "dimensions": {"device": {}},
}


def counted() -> counts.Counts:
    partition = product.Partition(KEYS)
    event = {"event": "purchase", "visitor_id": "v", "timestamp": 1_705_320_000_000, "value": "1.005"}
    partition.apply([event, {**event, "visitor_id": "w", "device": "mobile"}])
    return partition.shard.evaluate()


def test_a_message_comes_back_as_it_was_sent() -> None:
    minutes = [(28_422_000, 3, [0, 4], [2, 1])]
    value = told.encode(Claim(4, "me"), counted(), 1_705_320_000_000, minutes, {"web/1": 5})
    found = told.decode(value)
    assert found.claim == Claim(4, "me")
    assert found.counts == counted()
    assert (found.passed_ms, found.minutes, found.producers) == (1_705_320_000_000, minutes, {"web/1": 5})
    assert found.counts.amounts[0][0][2:] == (3, [0, 1, 3], ["2010", "1005", "1005"])


def test_the_least_message() -> None:
    found = told.decode(told.encode(Claim(1, "a"), product.Partition(KEYS).shard.evaluate()))
    assert (found.passed_ms, found.minutes, found.producers, found.counts.at_ms) == (None, [], {}, None)


@pytest.mark.parametrize("version", [(told.VERSION + 1, counts.VERSION), (told.VERSION, counts.VERSION + 1)])
def test_another_version_is_named(version: tuple[int, int]) -> None:
    message = msgspec.msgpack.decode(told.encode(Claim(1, "a"), counted()))
    message[0], message[3][0] = version
    with pytest.raises(StateError, match=rf"\({version[0]}, {version[1]}\).*reads version"):
        told.decode(msgspec.msgpack.encode(message))


@pytest.mark.parametrize("value", [msgspec.msgpack.encode(x) for x in (None, 3, {}, [], [told.VERSION])])
def test_what_is_no_message_is_an_error(value: bytes) -> None:
    with pytest.raises(StateError):
        told.decode(value)


def test_the_highest_epoch_counts_and_its_first_writer() -> None:
    claims = told.Claims()
    order = [
        (Claim(2, "a"), True),
        (Claim(1, "old"), False),
        (Claim(2, "b"), False),
        (Claim(2, "a"), True),
        (Claim(3, "b"), True),
        (Claim(2, "a"), False),
        (Claim(3, "b"), True),
    ]
    assert [claims.accept(0, claim) for claim, _ in order] == [wanted for _, wanted in order]
    assert claims.accept(1, Claim(1, "old")), "each partition for itself"
