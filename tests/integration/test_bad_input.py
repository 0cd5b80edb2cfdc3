"""Bad messages among good events: each lands in the dead letters as it was, no good event is lost."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests import oracle
from tests.bad_input import BAD, GOOD, ODD
from tests.brokers import create_topic
from tests.conftest import Broker
from tests.murmur2 import partition_of
from tests.worker import Worker, read_all, wait_until, wait_until_committed

PARTITIONS = 2
REASONS = {
    "not_json",
    "not_an_object",
    "missing_field",
    "bad_field",
    "bad_timestamp",
    "in_future",
    "too_large",
    "empty",
}
KEYS: dict[str, Any] = {
    "clock": "event",
    "windows": ["5m", "24h"],
    "dimensions": {"device": {}, "brand": {}},
    "goals": {"purchase": {"kind": "macro", "match": {"event": "purchase"}, "revenue": "value"}},
}
Sent = tuple[bytes | None, bytes | None, int]  # key, value, partition


def config(broker: Broker, topic: str, group: str, **changes: Any) -> dict[str, Any]:
    kafka = {"bootstrap_servers": broker.bootstrap, "topic": topic, "group": group, "partitions": PARTITIONS}
    return {"kafka": kafka, **KEYS, **changes}


def good_events(n: int) -> list[dict[str, Any]]:
    """Ordinary events; the odd ones of the unit test stand among them."""
    now = time.time_ns() // 1_000_000 - 600_000
    events = []
    for i in range(n):
        event = GOOD | {"visitor_id": f"v{i % 40}", "timestamp": now + i * 100, "transaction_id": f"t{i}"}
        event |= {"event": "purchase" if i % 10 == 0 else "page_view", "device": ("tv", "mobile")[i % 2]}
        events.append(event)
    return events


def mixed(events: list[dict[str, Any]], values: list[bytes | None]) -> list[Sent]:
    """The good events with a bad message after each, on the partitions in turn; their keys are bad too."""
    keys: list[bytes | None] = [None, b"", b"\xff\xfe", b"v1", b"k" * 10_000]
    sent: list[Sent] = []
    for i, event in enumerate(events):
        name = event["visitor_id"]
        sent.append((name.encode(), json.dumps(event).encode(), partition_of(name, PARTITIONS)))
        if i < len(values):
            sent.append((keys[i % len(keys)], values[i], i % PARTITIONS))
    assert len(values) <= len(events)
    return sent


async def send(broker: Broker, topic: str, messages: list[Sent]) -> list[tuple[int, int]]:
    """Partition and offset of each message."""
    # aiokafka refuses a message of neither key nor value, other clients do not: it is made None on its way.
    nothing = object()
    producer = AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap,
        max_request_size=16 << 20,
        linger_ms=5,
        value_serializer=lambda value: None if value is nothing else value,
    )
    await producer.start()
    try:
        futures = [
            await producer.send(topic, nothing if value is None else value, key, partition)
            for key, value, partition in messages
        ]
        placed = [await future for future in futures]
        return [(record.partition, record.offset) for record in placed]
    finally:
        await producer.stop()


@pytest.mark.timeout(240)
def test_each_bad_message_is_a_dead_letter_as_it_was_and_every_good_event_counts(
    broker: Broker, topic: str, group: str, tmp_path: Path
) -> None:
    # In the future by the clock of the test: the table's is of 2024.
    bad = [b for b in BAD if b.name != "5 minutes and 1 ms ahead"]
    ahead = json.dumps(GOOD | {"timestamp": time.time_ns() // 1_000_000 + 3_600_000}).encode()
    values = [*(b.value for b in bad), ahead]
    reasons = [*(b.reasons for b in bad), ("in_future",)]
    events = good_events(len(values) + 300)
    messages = mixed(events, values)
    asyncio.run(create_topic(broker.bootstrap, topic, PARTITIONS, **{"max.message.bytes": str(16 << 20)}))
    with Worker(tmp_path, config(broker, topic, group)) as worker:
        worker.start().wait_ready()
        placed = asyncio.run(send(broker, topic, messages))
        ends = {
            p: 1 + max(offset for partition, offset in placed if partition == p) for p in range(PARTITIONS)
        }
        wait_until_committed(broker.bootstrap, group, topic, ends, 90, [worker])

        letters = {
            (headers["topic"], int(headers["partition"]), int(headers["offset"])): (letter, headers)
            for letter in read_all(broker.bootstrap, f"{topic}-dead-letter", len(values))
            for headers in [{name: value.decode() for name, value in letter.headers}]
        }
        assert len(letters) == len(values)
        bad_ones = [i for i in range(len(messages)) if i % 2 and i < 2 * len(values)]
        for i, expected in zip(bad_ones, reasons, strict=True):
            letter, headers = letters[topic, *placed[i]]
            assert letter.value == messages[i][1]
            assert headers["reason"] in expected
            assert headers["detail"]
        assert worker.metric("conversion_events_rejected_total") == len(values)

        spread: list[list[dict[str, Any]]] = [[] for _ in range(PARTITIONS)]
        for event in events:
            spread[partition_of(event["visitor_id"], PARTITIONS)].append(event)
        truth = oracle.table(oracle.rows(KEYS, spread))
        worker.wait_for_rates(truth)
        text = worker.log()
        assert "v-good" not in text
        assert "acme" not in text
        assert worker.terminate()[0] == 0


@pytest.mark.timeout(120)
def test_odd_events_are_no_dead_letters(broker: Broker, topic: str, group: str, tmp_path: Path) -> None:
    values = [value for name, value in ODD if name != "5 minutes ahead"]
    messages: list[Sent] = [(b"v-good", value, 0) for value in values]
    asyncio.run(create_topic(broker.bootstrap, topic, PARTITIONS))
    with Worker(tmp_path, config(broker, topic, group)) as worker:
        worker.start().wait_ready()
        asyncio.run(send(broker, topic, messages))
        wait_until_committed(broker.bootstrap, group, topic, {0: len(values)}, 60, [worker])
        assert worker.metric("conversion_events_rejected_total") == 0
        assert worker.metric("conversion_events_total") == len(values)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("amounts of 33 digits", {"value": "999999999999999.999999999999999999"}),
        ("amounts of 18 decimals", {"value": "0.000000000000000001"}),
        ("every event a new brand", {"properties": {"brand": "NUMBER" * 16}}),
        ("every event a new device", {"device": "NUMBER" * 16}),
        ("every event a new currency", {"currency": "CURRENCY"}),
        ("every event a new session", {"session_id": "NUMBER" * 16}),
        ("every event a new visitor", {"visitor_id": "NUMBER" * 16}),
        ("every event a new property", {"properties": {"NUMBER": 1}}),
        ("every event a new name", {"event": "NUMBER"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_valid_events_of_an_extreme_kind_stop_nobody(
    kafka: Broker, topic: str, group: str, tmp_path: Path, name: str, fields: dict[str, Any]
) -> None:
    """Nothing is wrong with these events one by one; the worker counts them all, and survives a kill -9."""
    currencies = ["USD", "EUR", "JPY", "GBP", "CHF", "SEK", "PLN", "CZK", "HUF", "NOK"]
    text = json.dumps(fields)
    events = [
        event
        | json.loads(text.replace("NUMBER", f"n{i:07}").replace("CURRENCY", currencies[i % len(currencies)]))
        for i, event in enumerate(good_events(3_000))
    ]
    spread: list[list[dict[str, Any]]] = [[] for _ in range(PARTITIONS)]
    messages: list[Sent] = []
    for event in events:
        place = partition_of(event["visitor_id"], PARTITIONS)
        spread[place].append(event)
        messages.append((event["visitor_id"].encode(), json.dumps(event).encode(), place))
    truth = oracle.table(oracle.rows(KEYS, spread))
    asyncio.run(create_topic(kafka.bootstrap, topic, PARTITIONS))
    with Worker(tmp_path, config(kafka, topic, group, checkpoint_interval="1s")) as worker:
        worker.start().wait_ready()
        half = len(messages) // 2
        asyncio.run(send(kafka, topic, messages[:half]))
        time.sleep(2)
        assert worker.running, worker.log_tail()
        worker.kill()
        worker.start()
        asyncio.run(send(kafka, topic, messages[half:]))
        ends = {partition: len(events) for partition, events in enumerate(spread)}
        wait_until_committed(kafka.bootstrap, group, topic, ends, 60, [worker])
        given = whole(truth)
        wait_until(lambda: whole(oracle.table(worker.rates() or [])) == given, 30, "exact rates")
        assert worker.metric("conversion_events_rejected_total") == 0


def whole(table: dict[Any, Any]) -> dict[Any, Any]:
    """Only the rows of the whole: which of very many values keep a row may depend on the partition."""
    return {key: numbers for key, numbers in table.items() if key[1] == "all"}
