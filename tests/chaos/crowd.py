"""A group with so many segment values that what its partitions tell does not fit a message of 1 MB as it is."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from tests import oracle
from tests.brokers import create_topic
from tests.chaos.stage import Life
from tests.flow import BEGIN, KEYS
from tests.murmur2 import partition_of
from tests.worker import Worker, wait_until_committed

PARTITIONS = 2
EVENTS = 8_000
#: A partition keeps 1,000 values of each dimension.
VALUES = 990
DIMENSIONS = ("device", "country", "campaign", "source")
CROWDED: dict[str, Any] = KEYS | {"dimensions": {name: {} for name in DIMENSIONS}}


def events(rng: random.Random) -> list[dict[str, Any]]:
    found = []
    for i in range(EVENTS):
        event = {
            "event": "purchase" if rng.random() < 0.1 else "page_view",
            "visitor_id": f"visitor-{rng.randrange(EVENTS)}",
            "timestamp": BEGIN + i * 20,
        }
        found.append(event | {name: f"{name}-{rng.randrange(VALUES)}" for name in DIMENSIONS})
    return found


async def send(bootstrap: str, topic: str, spread: list[list[dict[str, Any]]]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, enable_idempotence=True)
    await producer.start()
    try:
        for partition, found in enumerate(spread):
            for event in found:
                await producer.send(
                    topic, json.dumps(event).encode(), event["visitor_id"].encode(), partition
                )
        await producer.flush()
    finally:
        await producer.stop()


def count_a_crowd(bootstrap: str, directory: Path, name: str, rng: random.Random) -> None:
    """Counts the crowd as topic and group of a name, with a kill -9 on the way; fails unless all is exact."""
    spread: list[list[dict[str, Any]]] = [[] for _ in range(PARTITIONS)]
    for event in events(rng):
        spread[partition_of(event["visitor_id"], PARTITIONS)].append(event)
    truth = oracle.table(oracle.rows(CROWDED, spread))
    kafka = {"bootstrap_servers": bootstrap, "topic": name, "group": name, "partitions": PARTITIONS}
    asyncio.run(create_topic(bootstrap, name, PARTITIONS))
    with Worker(directory, {"kafka": kafka, **CROWDED, "checkpoint_interval": "1s"}, name) as worker:
        worker.start().wait_ready()
        asyncio.run(send(bootstrap, name, spread))
        time.sleep(rng.uniform(0.0, 2.0))
        worker.kill()
        worker.start().wait_ready()
        ends = {partition: len(found) for partition, found in enumerate(spread)}
        wait_until_committed(bootstrap, name, name, ends, 60, [worker])
        worker.wait_for_rates(truth, 30)


def many_values(life: Life, rng: random.Random) -> str:
    """Thousands of segment values in a group of its own: its messages between the stages are large; kill -9."""
    name = f"crowd-{life.number}-{rng.randrange(1 << 32):08x}"
    count_a_crowd(life.stage.bootstrap, life.stage.directory, name, rng)
    return f"{EVENTS} events, {len(DIMENSIONS)} dimensions of {VALUES} values"
