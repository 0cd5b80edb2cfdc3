"""What happens to a shop is called by its name, on both brokers, and a worker that is killed each time changes nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from tests import kinds
from tests.brokers import create_topic
from tests.conftest import Broker
from tests.murmur2 import partition_of
from tests.worker import Worker, read_to_end, wait_until, wait_until_committed

PARTITIONS = 2
SEED = 1
#: Where the stream is cut: in the middle of everything that happens.
CUTS = [at + kinds.LASTS // 2 for at in kinds.BEGINS.values()]


def parts() -> Iterator[list[tuple[bytes, bytes, int]]]:
    """Key, value and partition of the events up to each cut."""
    stream = kinds.events(SEED)
    for cut in [*sorted(CUTS), kinds.END]:
        end = kinds.BEGIN_MS + cut * kinds.MINUTE_MS
        some = list(itertools.takewhile(lambda e, end=end: e["timestamp"] < end, stream))
        # takewhile drops the first event after a cut: a page view of nobody else
        yield [
            (e["visitor_id"].encode(), orjson.dumps(e), partition_of(e["visitor_id"], PARTITIONS))
            for e in some
        ]


async def send(bootstrap: str, topic: str, messages: list[tuple[bytes, bytes, int]]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=1 << 18)
    await producer.start()
    try:
        for key, value, partition in messages:
            await producer.send(topic, value, key=key, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()


@pytest.fixture
def worker(broker: Broker, topic: str, group: str, tmp_path: Path) -> Iterator[Worker]:
    at = {"bootstrap_servers": broker.bootstrap, "topic": topic, "group": group, "partitions": PARTITIONS}
    with Worker(tmp_path, {"kafka": at, **kinds.KEYS, "checkpoint_interval": "1s"}) as found:
        yield found


def records_of(bootstrap: str, topic: str) -> list[dict[str, Any]]:
    """Alert records as a reader has them who takes each revision once."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for message in read_to_end(bootstrap, topic, 0):
        record = json.loads(message.value)
        first = found.setdefault((record["alert_id"], record["revision"]), record)
        assert first == record, "said twice, it says the same"
    return list(found.values())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_four_things_happen_and_a_worker_dies_in_each(
    broker: Broker, topic: str, group: str, worker: Worker
) -> None:
    asyncio.run(create_topic(broker.bootstrap, topic, PARTITIONS))
    worker.start().wait_ready()
    ends = dict.fromkeys(range(PARTITIONS), 0)
    for messages in parts():
        asyncio.run(send(broker.bootstrap, topic, messages))
        for *_, partition in messages:
            ends[partition] += 1
        wait_until_committed(broker.bootstrap, group, topic, ends, 60, [worker])
        worker.kill()
        worker.start().wait_ready()

    alerts = f"{group}-conversion-alerts"

    def closed() -> bool:
        states = {r["alert_id"]: r["state"] for r in records_of(broker.bootstrap, alerts)}
        return len(states) == len(kinds.BEGINS) and set(states.values()) == {"resolved"}

    wait_until(closed, 60, f"four alerts, all resolved\n{worker.log_tail()}", every_s=1)
    by_id: dict[str, list[dict[str, Any]]] = {}
    for record in records_of(broker.bootstrap, alerts):
        by_id.setdefault(record["alert_id"], []).append(record)
    found = sorted(by_id.values(), key=lambda records: records[0]["onset_at"])
    for records in found:
        states = [r["state"] for r in records]
        assert states == ["firing", *["updated"] * (len(states) - 2), "resolved"]
        assert [r["revision"] for r in records] == list(range(1, len(records) + 1))
    assert [records[-1]["kind"] for records in found] == [
        "tracking_outage",
        "low_intent_traffic",
        "traffic_drop",
        "rate_drop",
    ]
    named = [[(s["dimension"], s["value"]) for s in records[-1]["segments"]] for records in found]
    assert named == [[("producer", "app/2.1")], [("channel", "social")], [], [("device", "mobile")]]
    broken = found[-1][-1]
    assert broken["segments"][0]["share"] >= 0.9
    assert broken["lost_conversions"] == pytest.approx(kinds.purchases_lost(SEED), rel=0.2)
    begun = [(records[-1]["onset_at"] * 1000 - kinds.BEGIN_MS) // kinds.MINUTE_MS for records in found]
    assert all(abs(b - at) <= 5 for b, at in zip(begun, kinds.BEGINS.values(), strict=True)), begun
