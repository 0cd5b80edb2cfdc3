"""A consumer that only reads is stopped whatever it does, and whoever stops it goes on."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition

from streams.connection import reader
from tests.brokers import create_topic
from tests.conftest import Broker


async def left_over() -> set[str]:
    """Tasks beside the test's own, once all that was closed has had its turn."""
    await asyncio.sleep(0.2)
    return {repr(task.get_coro()) for task in asyncio.all_tasks() - {asyncio.current_task()}}


@pytest.mark.timeout(60)
async def test_one_that_is_stopped_as_soon_as_it_has_started(kafka: Broker) -> None:
    """Its tasks have not begun: they are cancelled, and nobody else is."""
    for _ in range(3):
        async with reader(kafka.bootstrap, {}):
            pass
    assert not await left_over()


@pytest.mark.timeout(60)
async def test_one_that_waits_for_its_next_try(kafka: Broker, topic: str) -> None:
    await create_topic(kafka.bootstrap, topic)
    async with reader(kafka.bootstrap, {}) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.getmany(timeout_ms=100)
        consumer._fetcher._pending_tasks.add(asyncio.ensure_future(asyncio.sleep(60)))
        await asyncio.sleep(0)
    assert not await left_over()


@pytest.mark.timeout(60)
async def test_one_whose_reader_is_cancelled(kafka: Broker, topic: str) -> None:
    await create_topic(kafka.bootstrap, topic)
    reading = asyncio.Event()

    async def read() -> None:
        async with reader(kafka.bootstrap, {}) as consumer:
            consumer.assign([TopicPartition(topic, 0)])
            reading.set()
            while True:
                await consumer.getmany(timeout_ms=1_000)

    task = asyncio.ensure_future(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await left_over()
