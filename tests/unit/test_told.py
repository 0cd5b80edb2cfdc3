"""The message between the stages, and whose messages count."""

from __future__ import annotations

import json

import msgspec
import pytest

from monitor import counts
from streams import told
from streams.board import OFFSET_HEADER, OWNER_KEY, Holder
from streams.errors import StateError
from streams.ledger import Claim
from streams.pipeline import Pipeline
from streams.settings import parse_settings
from tests import product

KEYS = {
    "windows": ["1m"],
    "goals": {"buy": {"kind": "macro", "match": {"event": "purchase"}, "revenue": "value"}},
    "dimensions": {"device": {}},
}


CONFIG = {**KEYS, "clock": "event", "kafka": {"bootstrap_servers": "127.0.0.1:1"}}


def counted() -> counts.Counts:
    partition = product.Partition(KEYS)
    event = {"event": "purchase", "visitor_id": "v", "timestamp": 1_705_320_000_000, "value": "1.005"}
    partition.apply([event, {**event, "visitor_id": "w", "device": "mobile"}])
    return partition.shard.evaluate()


def test_a_message_comes_back_as_it_was_sent() -> None:
    minutes = [(28_422_000, 3, [0, 4], [2, 1])]
    value = told.encode(Claim(4, "me"), counted(), 77, 1_705_320_000_000, minutes, {"web/1": 5}, 17.25)
    found = told.decode(value)
    assert (found.claim, found.offset, found.holder) == (Claim(4, "me"), 77, 17.25)
    assert found.counts == counted()
    assert (found.passed_ms, found.minutes, found.producers) == (1_705_320_000_000, minutes, {"web/1": 5})
    assert found.counts.amounts[0][0][2:] == (3, [0, 1, 3], ["2010", "1005", "1005"])


def test_the_least_message() -> None:
    found = told.decode(told.encode(Claim(1, "a"), product.Partition(KEYS).shard.evaluate(), 0))
    assert (found.passed_ms, found.minutes, found.producers, found.counts.at_ms) == (None, [], {}, None)


@pytest.mark.parametrize("version", [(told.VERSION + 1, counts.VERSION), (told.VERSION, counts.VERSION + 1)])
def test_another_version_is_named(version: tuple[int, int]) -> None:
    message = msgspec.msgpack.decode(told.encode(Claim(1, "a"), counted(), 1))
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


def test_minutes_that_were_told_to_another_holder_are_not_judged() -> None:
    """They would be a stream with a hole at its beginning; the counts are good all the same."""
    pipeline = Pipeline(parse_settings(json.dumps(CONFIG), {}))
    pipeline.partitions = 1
    minute = 28_422_000
    message = (counted(), 2, (minute + 3) * 60_000, [(minute, 1, [0], [4]), (minute + 1, 1, [0], [4])], {})
    to_another = told.encode(Claim(1, "a"), *message, 5.0)
    pipeline.hold_totals({0: to_another}, {})
    assert pipeline.add(0, to_another)
    assert pipeline.totals is not None
    assert pipeline.totals.snapshot().complete
    assert pipeline.watcher is not None
    pipeline.watcher.watch.judge(None)
    assert pipeline.watcher.watch.closed is None
    assert pipeline.add(0, told.encode(Claim(1, "a"), *message, pipeline._held_since))
    pipeline.watcher.watch.judge(None)
    assert pipeline.watcher.watch.closed == minute + 1


def test_who_takes_the_totals_over_begins_with_the_furthest_that_was_told() -> None:
    """The table is saved every five seconds only; what a zombie told is true as far as it goes."""
    pipeline = Pipeline(parse_settings(json.dumps(CONFIG), {}))
    pipeline.partitions = 2
    partition = product.Partition(KEYS)
    told_of = {}
    for n in range(1, 5):
        partition.apply([{"event": "view", "visitor_id": f"v{n}", "timestamp": 1_705_320_000_000 + n}])
        told_of[n] = partition.shard.evaluate()
    saved = {0: told.encode(Claim(2, "a"), told_of[1], 1), 1: told.encode(Claim(2, "a"), told_of[1], 1)}
    for key, claim, n in [
        (b"0", Claim(2, "a"), 3),
        (b"0", Claim(3, "b"), 1),
        (b"1", Claim(2, "a"), 1),
        (b"1", Claim(1, "zombie"), 2),
    ]:
        pipeline.board.see(key, told.encode(claim, told_of[n], n), [(OFFSET_HEADER, str(n).encode())])
    pipeline.hold_totals(saved, {})
    assert pipeline.totals is not None
    whole = pipeline.totals.snapshot().rows[0]
    assert whole.visitors == 3 + 2
    # The new owner of partition 0 reads again from its last checkpoint: the totals wait for him.
    for n, wanted in [(1, 3), (2, 3), (3, 3), (4, 4)]:
        assert pipeline.add(0, told.encode(Claim(3, "b"), told_of[n], n)) == (n >= 3)
        assert pipeline.totals.snapshot().rows[0].visitors == wanted + 2
    assert not pipeline.add(0, told.encode(Claim(2, "a"), told_of[4], 9)), "a zombie goes on telling"


def test_counts_of_another_config_are_no_totals() -> None:
    """After a goal was added, the totals wait for the first word of every partition, whatever its offset."""
    pipeline = Pipeline(parse_settings(json.dumps(CONFIG), {}))
    pipeline.partitions = 1
    older = product.Partition(
        {**KEYS, "goals": {**KEYS["goals"], "old": {"kind": "macro", "match": {"event": "quote"}}}}
    )
    event = {"event": "view", "visitor_id": "v", "timestamp": 1_705_320_000_000}
    older.apply([event])
    pipeline.hold_totals({0: told.encode(Claim(1, "a"), older.shard.evaluate(), 9)}, {})
    assert pipeline.totals is not None
    assert not pipeline.totals.begun
    assert pipeline.add(0, told.encode(Claim(2, "b"), counted(), 3))
    assert pipeline.totals.snapshot().rows[0].visitors == 2


@pytest.mark.parametrize("cut_off", [True, False])
def test_who_is_cut_off_or_has_a_successor_says_that_the_totals_stand_still(cut_off: bool) -> None:
    pipeline = Pipeline(parse_settings(json.dumps(CONFIG), {}))
    pipeline.partitions = 1
    pipeline.hold_totals({0: told.encode(Claim(1, "a"), counted(), 1)}, {})
    shown = pipeline.snapshot()
    assert shown is not None
    assert shown.complete
    if cut_off:
        pipeline.board.heard_at -= 9
    else:
        pipeline.board.see(
            OWNER_KEY, msgspec.json.encode(Holder("http://b", pipeline._held_since + 1, None)), []
        )
    stands = pipeline.snapshot()
    assert stands is not None
    assert (stands.complete, stands.rows) == (False, shown.rows)
