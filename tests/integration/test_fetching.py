"""What a fetch becomes: batches without what must not count, and nothing of it left in memory afterwards."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords

from streams.fetched import Batch
from streams.transport import BatchFetcher
from tests.brokers import create_topic
from tests.conftest import Broker


@asynccontextmanager
async def fetching(bootstrap: str, topic: str) -> AsyncIterator[BatchFetcher]:
    """A consumer as in a worker, reading partition 0 from its beginning."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        fetcher = consumer._fetcher
        fetcher.__class__ = BatchFetcher
        fetcher.batched = frozenset([topic])
        consumer.assign([TopicPartition(topic, 0)])
        yield fetcher
    finally:
        await consumer.stop()


async def next_batch(fetcher: BatchFetcher) -> Batch:
    [[batch]] = (await fetcher.fetched_records(None, timeout=10)).values()
    assert isinstance(batch, Batch)
    return batch


async def values(fetcher: BatchFetcher, end: int) -> list[bytes | None]:
    """All values up to an offset."""
    found: list[bytes | None] = []
    reached = 0
    while reached < end:
        batch = await next_batch(fetcher)
        found += [record.value for part in batch.parts(0) for record in part]
        reached = batch.end
    return found


@pytest.mark.timeout(90)
async def test_only_aborted_transactions_are_left_out(kafka: Broker, topic: str) -> None:
    """One producer aborts, commits, aborts and commits, all of which one fetch brings."""
    await create_topic(kafka.bootstrap, topic)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=topic)
    await producer.start()
    try:
        for number, commits in enumerate([False, True, False, True]):
            await producer.begin_transaction()
            for i in range(3):
                await producer.send_and_wait(topic, b"%d-%d" % (number, i), partition=0)
            await (producer.commit_transaction() if commits else producer.abort_transaction())
    finally:
        await producer.stop()
    async with fetching(kafka.bootstrap, topic) as fetcher:
        found = await values(fetcher, 16)  # each transaction's end takes an offset
    assert found == [b"1-0", b"1-1", b"1-2", b"3-0", b"3-1", b"3-2"]


@pytest.mark.timeout(90)
async def test_fetched_bytes_go_without_a_search_for_cycles(kafka: Broker, topic: str) -> None:
    await create_topic(kafka.bootstrap, topic)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    gc.collect()
    gc.disable()
    try:
        async with fetching(kafka.bootstrap, topic) as fetcher:
            for number in range(5):
                await producer.send_and_wait(topic, b"%d" % number, partition=0)
                batch = await next_batch(fetcher)
                assert [r.value for part in batch.parts(number) for r in part] == [b"%d" % number]
            del batch
            kept = [o for o in gc.get_objects() if isinstance(o, PartitionRecords)]
    finally:
        gc.enable()
        await producer.stop()
    assert kept == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("waits", [False, True])
async def test_while_messages_stand_still_it_takes_none(kafka: Broker, topic: str, *, waits: bool) -> None:
    """Neither for who asks then, nor for who has waited since before: Faust would throw them away."""
    await create_topic(kafka.bootstrap, topic)
    async with fetching(kafka.bootstrap, topic) as fetcher:
        flows = waits
        fetcher.flows = lambda: flows
        asked = asyncio.ensure_future(fetcher.fetched_records(None, timeout=5))
        await asyncio.sleep(0.5)
        flows = False
        await send(kafka.bootstrap, topic, b"1")
        assert await asked == {}
        await asyncio.sleep(0.5)
        assert await fetcher.fetched_records(None, timeout=1) == {}
        flows = True
        assert await values(fetcher, 1) == [b"1"]


@pytest.mark.timeout(60)
async def test_of_no_partition_it_takes_nothing(kafka: Broker, topic: str) -> None:
    """aiokafka takes an empty set for all partitions."""
    await create_topic(kafka.bootstrap, topic)
    await send(kafka.bootstrap, topic, b"1")
    async with fetching(kafka.bootstrap, topic) as fetcher:
        assert await fetcher.fetched_records(set(), timeout=1) == {}
        assert await values(fetcher, 1) == [b"1"]


async def send(bootstrap: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()
