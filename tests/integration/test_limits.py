"""A worker within its limits: told once, counted, and the same after kill -9."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests import oracle
from tests.chaos.crowd import count_a_crowd
from tests.conftest import Broker
from tests.flow import BEGIN, KEYS
from tests.worker import Worker, committed, wait_until

VISITORS = 20_000
PARTITIONS = 2


async def publish(broker: Broker, topic: str) -> None:
    """Every visitor once, with an event id of his own."""
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, linger_ms=20)
    await producer.start()
    for i in range(VISITORS):
        event = {"event": "page_view", "visitor_id": f"v{i}", "timestamp": BEGIN + i, "event_id": f"e{i}"}
        await producer.send(topic, json.dumps(event).encode(), key=f"v{i}".encode())
    await producer.stop()


@pytest.mark.timeout(180)
def test_a_flood_is_told_and_counted_and_a_crash_changes_nothing(
    kafka: Broker, topic: str, group: str, tmp_path: Path
) -> None:
    config = {
        "kafka": {
            "bootstrap_servers": kafka.bootstrap,
            "topic": topic,
            "group": group,
            "partitions": PARTITIONS,
        },
        **KEYS,
        "checkpoint_interval": "500ms",
        "limits": {"visitors": 3_000, "event_ids": 4_000},
    }
    with Worker(tmp_path, config) as worker:
        worker.start().wait_ready()
        asyncio.run(publish(kafka, topic))
        wait_until(
            lambda: sum(committed(kafka.bootstrap, group, topic, range(PARTITIONS)).values()) == VISITORS,
            60,
            "all is counted and saved",
        )
        time.sleep(1.0)  # the totals follow with the next ticks
        seen = numbers(worker)
        assert seen[("24h", "all", "all")]["visitors"] <= 3_000
        assert seen[("24h", "all", "all")]["visitors"] >= 0.9 * 3_000
        lines = worker.get("/metrics")[1].decode().splitlines()
        forgotten = {
            line.split()[0]: float(line.split()[1])
            for line in lines
            if line.startswith("conversion_limit_reached_total{")
        }
        assert forgotten['conversion_limit_reached_total{limit="visitors"}'] >= VISITORS - 3_000
        assert forgotten['conversion_limit_reached_total{limit="event_ids"}'] >= VISITORS - 4_000
        assert "Raise limits.visitors" in worker.log()
        assert worker.log().count("Raise limits.visitors") == 1

        worker.kill()
        worker.start().wait_ready()
        wait_until(lambda: numbers(worker) == seen, 30, "the numbers are those of before")


def numbers(worker: Worker) -> dict[tuple[str, str, str], dict[str, Any]]:
    return oracle.table(worker.rates() or [])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_thousands_of_segment_values_are_told_between_the_stages(
    kafka: Broker, topic: str, tmp_path: Path
) -> None:
    """What a partition tells of them is above the broker's limit of 1 MB until it is compressed."""
    count_a_crowd(kafka.bootstrap, tmp_path, topic, random.Random(1))
