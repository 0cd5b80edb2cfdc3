"""End and first offsets, on both brokers."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from streams.embedded import free_port
from streams.errors import BrokerError, TopicError
from streams.offsets import beginning_offsets, end_offsets
from tests.brokers import create_topic


async def send_batches(bootstrap: str, topic: str, partition: int, sizes: list[int]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for size in sizes:
            batch = producer.create_batch()
            for _ in range(size):
                assert batch.append(key=None, value=b"x", timestamp=None) is not None
            await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()


async def test_end_offsets_count_every_record_of_the_last_batch(broker, topic):
    await create_topic(broker.bootstrap, topic, 3)
    await send_batches(broker.bootstrap, topic, 0, [200, 1, 500])
    await send_batches(broker.bootstrap, topic, 2, [1])
    wanted = [TopicPartition(topic, p) for p in (0, 1, 2)]
    assert await end_offsets(broker.bootstrap, wanted) == dict(zip(wanted, (701, 0, 1), strict=True))
    assert await beginning_offsets(broker.bootstrap, wanted) == dict.fromkeys(wanted, 0)


async def test_end_offsets_of_batches_larger_than_the_fetch(broker, topic):
    await create_topic(broker.bootstrap, topic, 2)
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await producer.start()
    for partition in (0, 1):
        for _ in range(5):
            await producer.send_and_wait(topic, b"v" * 300_000, partition=partition)
    await producer.stop()
    wanted = [TopicPartition(topic, p) for p in (0, 1)]
    assert await end_offsets(broker.bootstrap, wanted) == dict.fromkeys(wanted, 5)


async def test_no_partitions_is_no_question(broker):
    assert await end_offsets(broker.bootstrap, []) == {}


async def test_missing_topic_is_an_error_that_names_it(broker, topic):
    with pytest.raises(TopicError, match=f"no topic {topic}"):
        await end_offsets(broker.bootstrap, [TopicPartition(topic, 0)])


async def test_missing_partition_is_an_error_that_names_it(kafka, topic):
    await create_topic(kafka.bootstrap, topic)
    with pytest.raises(BrokerError, match=rf"{topic}\[7\]"):
        await end_offsets(kafka.bootstrap, [TopicPartition(topic, 7)], timeout_s=1)


async def test_no_broker_is_an_error_that_names_the_address():
    bootstrap = f"127.0.0.1:{free_port()}"
    with pytest.raises(BrokerError, match=bootstrap):
        await end_offsets(bootstrap, [TopicPartition("clickstream", 0)], timeout_s=5)


@pytest.mark.kafka
async def test_offsets_after_records_were_deleted(kafka, topic):
    await create_topic(kafka.bootstrap, topic)
    await send_batches(kafka.bootstrap, topic, 0, [100])
    partition = TopicPartition(topic, 0)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.delete_records({partition: RecordsToDelete(before_offset=60)})
    await admin.close()
    assert await beginning_offsets(kafka.bootstrap, [partition]) == {partition: 60}
    assert await end_offsets(kafka.bootstrap, [partition]) == {partition: 100}


@pytest.mark.embedded
async def test_why_list_offsets_is_not_trusted(embedded, topic):
    """Should this fail some day, the embedded broker has learnt it and `end_offsets` may become simpler."""
    await create_topic(embedded.bootstrap, topic)
    await send_batches(embedded.bootstrap, topic, 0, [100, 500])
    partition = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=embedded.bootstrap) as consumer:
        assert (await consumer.end_offsets([partition]))[partition] == 101
