"""A commit that comes while the group is being formed anew does not cost a member its membership."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError

from streams.membership import Membership
from tests.brokers import create_topic
from tests.conftest import Broker

PARTITIONS = 3
#: How long the slowest member keeps the others waiting, seconds.
SLOW_S = 3.0


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Sees how often partitions are revoked and assigned; is in no hurry to give them away."""

    def __init__(self, gives_away_s: float) -> None:
        self.gives_away_s = gives_away_s
        self.revoked = asyncio.Event()
        self.assignments = 0

    async def on_partitions_revoked(self, revoked: Any) -> None:
        if revoked:
            self.revoked.set()
            await asyncio.sleep(self.gives_away_s)

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self.assignments += 1


@asynccontextmanager
async def member(
    broker: Broker, topic: str, group: str, gives_away_s: float = 0.0
) -> AsyncIterator[tuple[AIOKafkaConsumer, Listener]]:
    """A consumer as in a worker, with its partitions."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap,
        group_id=group,
        enable_auto_commit=False,
        heartbeat_interval_ms=500,
        session_timeout_ms=20_000,
    )
    await consumer.start()
    try:
        consumer._coordinator.__class__ = Membership
        listener = Listener(gives_away_s)
        consumer.subscribe([topic], listener=listener)
        yield consumer, listener
    finally:
        await consumer.stop()


async def until(done: Any, what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


@pytest.mark.timeout(120)
async def test_a_commit_during_a_rebalance_fails_at_once_and_costs_nothing(
    kafka: Broker, topic: str, group: str
) -> None:
    await create_topic(kafka.bootstrap, topic, PARTITIONS)
    async with AsyncExitStack() as stack:
        first, seen = await stack.enter_async_context(member(kafka, topic, group))
        await until(first.assignment, "the first has partitions")
        slow, _ = await stack.enter_async_context(member(kafka, topic, group, SLOW_S))
        await until(
            lambda: len(first.assignment()) < PARTITIONS and slow.assignment(), "both have partitions"
        )
        mine = {TopicPartition(topic, tp.partition): 0 for tp in first.assignment()}
        await first.commit(mine)
        assignments, generation = seen.assignments, first._coordinator.generation
        seen.revoked.clear()

        third, _ = await stack.enter_async_context(member(kafka, topic, group))
        await asyncio.wait_for(seen.revoked.wait(), 20)
        await asyncio.sleep(0.5)  # it has asked to join, and waits for the slow one
        assert first._coordinator.joining
        began = time.monotonic()
        with pytest.raises(CommitFailedError):
            await first.commit(mine)
        assert time.monotonic() - began < SLOW_S / 3, "the commit waited for the others"
        await until(third.assignment, "the third has partitions")
        await asyncio.sleep(2)

        assert seen.assignments == assignments + 1
        assert first._coordinator.generation == generation + 1
        await first.commit(dict.fromkeys(first.assignment(), 0))


@pytest.mark.timeout(120)
async def test_the_refusal_of_an_earlier_member_leaves_the_one_of_now_alone(
    kafka: Broker, topic: str, group: str
) -> None:
    """A commit that was on its way when its member was replaced: its answer comes when another one has joined."""
    await create_topic(kafka.bootstrap, topic, PARTITIONS)
    async with member(kafka, topic, group) as (consumer, seen):
        await until(consumer.assignment, "it has partitions")
        coordinator, send = consumer._coordinator, consumer._coordinator._send_req
        mine = dict.fromkeys(consumer.assignment(), 0)
        now = coordinator.generation, coordinator.member_id

        async def as_an_earlier_one(request: Any) -> Any:
            coordinator._send_req = send
            answer = await send(request)
            coordinator.generation, coordinator.member_id = now
            return answer

        coordinator._send_req = as_an_earlier_one
        coordinator.generation, coordinator.member_id = now[0], f"{now[1]}-earlier"
        with pytest.raises(CommitFailedError):
            await consumer.commit(mine)
        await asyncio.sleep(2)
        assert (coordinator.generation, coordinator.member_id) == now
        assert seen.assignments == 1
        await consumer.commit(mine)
