"""A worker that takes the totals over reads what stands in the counts topic, before it follows it."""

from __future__ import annotations

import asyncio

import msgspec
from aiokafka import AIOKafkaProducer

from streams.board import OFFSET_HEADER, OWNER_KEY, WATERMARK_HEADER, Board, Holder
from tests.brokers import create_topic


async def test_catching_up_needs_nobody_who_follows(broker, topic):
    await create_topic(broker.bootstrap, topic, 1)
    board = Board(topic)
    async with asyncio.timeout(4):  # the reader's own patience is five seconds
        await board.catch_up(broker.bootstrap, {})
    assert board.furthest() == {}
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await producer.start()
    for partition, offset in [(0, 3), (1, 7), (0, 9), (0, 4)]:
        headers = [(OFFSET_HEADER, str(offset).encode()), (WATERMARK_HEADER, str(offset * 10).encode())]
        await producer.send(
            topic, f"{partition}-{offset}".encode(), str(partition).encode(), 0, None, headers
        )
    owner = msgspec.json.encode(Holder("http://a", 5.0, 17))
    await producer.send_and_wait(topic, owner, OWNER_KEY, 0)
    await producer.stop()
    async with asyncio.timeout(4):
        await board.catch_up(broker.bootstrap, {})
    assert board.furthest() == {0: b"0-9", 1: b"1-7"}
    assert (board.watermark_ms, board.totals_url, board.judged_minute) == (90, "http://a", 17)
