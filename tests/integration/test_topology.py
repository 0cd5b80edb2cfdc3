"""Making sure of topics, on both brokers; what only Apache Kafka checks, there alone."""

import asyncio
import shlex
import time

import pytest

from streams.connection import wait_for_broker
from streams.embedded import EmbeddedBroker, free_port
from streams.errors import BrokerError, TopicError
from streams.topics import TopicAdmin
from streams.topology import Topology, ensure_topics
from tests.brokers import create_topic


async def partitions(bootstrap: str, names) -> dict[str, int]:
    async with TopicAdmin(bootstrap, {}) as admin:
        found = await admin.partitions()
    return {name: found[name] for name in names if name in found}


async def test_creates_what_is_missing_and_leaves_the_rest(broker, topic, group):
    names = Topology(topic, group)
    await create_topic(broker.bootstrap, topic, 3)
    assert await ensure_topics(broker.bootstrap, names, partitions=8) == 3
    wanted = {s.name: s.partitions for s in names.specs(3)}
    assert await partitions(broker.bootstrap, wanted) == wanted
    assert await ensure_topics(broker.bootstrap, names, partitions=8, create=False) == 3


async def test_creates_the_source_with_the_configured_number(broker, topic, group):
    names = Topology(topic, group)
    assert await ensure_topics(broker.bootstrap, names, partitions=2) == 2
    assert await partitions(broker.bootstrap, [topic]) == {topic: 2}


async def test_unkeyed_source_of_one_partition_is_spread(broker, topic, group):
    names = Topology(topic, group, keyed_by_visitor=False)
    await create_topic(broker.bootstrap, topic, 1)
    assert await ensure_topics(broker.bootstrap, names, partitions=4) == 4
    found = await partitions(broker.bootstrap, [topic, names.keyed, names.shards_changelog])
    assert found == {topic: 1, names.keyed: 4, names.shards_changelog: 4}


async def test_source_that_is_not_listed_yet_still_gives_its_number_to_all_others(
    broker, topic, group, monkeypatch
):
    """Right after a topic's creation a broker may not list it; state of another number would be of no use."""
    names = Topology(topic, group)
    await create_topic(broker.bootstrap, topic, 3)
    listed, first = TopicAdmin.partitions, iter([{}])

    async def empty_once(self, **kwargs):
        return found if (found := next(first, None)) is not None else await listed(self, **kwargs)

    monkeypatch.setattr(TopicAdmin, "partitions", empty_once)
    assert await ensure_topics(broker.bootstrap, names, partitions=8) == 3
    wanted = {s.name: s.partitions for s in names.specs(3)}
    assert await partitions(broker.bootstrap, wanted) == wanted


async def test_two_workers_at_once_both_succeed(broker, topic, group):
    names = Topology(topic, group)
    both = [ensure_topics(broker.bootstrap, names, partitions=4) for _ in range(2)]
    assert await asyncio.gather(*both) == [4, 4]


async def test_missing_topic_is_named_with_the_command_that_creates_it(broker, topic, group):
    names = Topology(topic, group)
    with pytest.raises(TopicError) as caught:
        await ensure_topics(broker.bootstrap, names, partitions=6, replication_factor=3, create=False)
    assert topic in caught.value.message
    commands = [line.strip() for line in caught.value.remedy.splitlines()[1:]]
    assert len(commands) == len(names.specs(6))
    arguments = shlex.split(commands[0])
    assert arguments[arguments.index("--topic") + 1] == topic
    assert arguments[arguments.index("--partitions") + 1] == "6"
    assert await partitions(broker.bootstrap, [s.name for s in names.specs(6)]) == {}


async def test_partitions_added_to_the_source_are_refused_with_the_way_out(broker, topic, group):
    names = Topology(topic, group)
    await create_topic(broker.bootstrap, topic, 6)
    await create_topic(broker.bootstrap, names.shards_changelog, 4)
    with pytest.raises(TopicError, match=r"6 partitions, but the state in .* is of 4") as caught:
        await ensure_topics(broker.bootstrap, names)
    assert "conversion-monitor reset" in caught.value.remedy
    assert "another kafka.group" in caught.value.remedy
    assert await partitions(broker.bootstrap, [names.counts, names.dead_letter]) == {}  # nothing half done


async def test_source_lost_but_state_there_is_not_created_with_another_number(broker, topic, group):
    names = Topology(topic, group)
    await create_topic(broker.bootstrap, names.shards_changelog, 8, **{"cleanup.policy": "compact"})
    with pytest.raises(TopicError, match="is to have 4 partitions") as caught:
        await ensure_topics(broker.bootstrap, names, partitions=4)
    assert "kafka.partitions: 8" in caught.value.remedy
    assert await ensure_topics(broker.bootstrap, names, partitions=8) == 8


async def test_counts_must_have_one_partition(broker, topic, group):
    names = Topology(topic, group)
    await create_topic(broker.bootstrap, names.counts, 2)
    with pytest.raises(TopicError, match=f"{names.counts} has 2 partitions and must have 1"):
        await ensure_topics(broker.bootstrap, names)


async def test_created_topics_bear_their_settings(kafka, topic, group):
    names = Topology(topic, group)
    await ensure_topics(kafka.bootstrap, names)
    async with TopicAdmin(kafka.bootstrap, {}) as admin:
        for spec in names.specs(4):
            for key, value in spec.configs.items():
                assert await admin.config([spec.name], key) == {spec.name: value}


async def test_state_topic_that_forgets_is_refused(kafka, topic, group):
    names = Topology(topic, group)
    await create_topic(kafka.bootstrap, names.shards_changelog, 4, **{"cleanup.policy": "delete"})
    with pytest.raises(TopicError, match=r"cleanup\.policy=delete") as caught:
        await ensure_topics(kafka.bootstrap, names)
    assert "--add-config cleanup.policy=compact" in caught.value.remedy


async def test_refused_creation_carries_the_brokers_reason(kafka, topic, group):
    with pytest.raises(TopicError, match="replication factor"):
        await ensure_topics(kafka.bootstrap, Topology(topic, group), replication_factor=3)


@pytest.mark.embedded
async def test_waits_for_a_broker_that_comes_later(topic, group):
    port, told = free_port(), []
    waiting = asyncio.create_task(
        ensure_topics(f"127.0.0.1:{port}", Topology(topic, group), on_wait=told.append)
    )
    await asyncio.sleep(0.6)
    assert not waiting.done()
    async with EmbeddedBroker(port):
        assert await asyncio.wait_for(waiting, 10) == 4
    assert f"waiting for Kafka at 127.0.0.1:{port}: connection refused; next try in 0.25 s" in told[0]


async def test_gives_up_on_a_broker_in_time_and_says_why():
    bootstrap = f"127.0.0.1:{free_port()}"
    started = time.monotonic()
    with pytest.raises(BrokerError, match=rf"no Kafka broker at {bootstrap} within 1 s: connection refused"):
        await wait_for_broker(bootstrap, timeout=1)
    assert time.monotonic() - started < 2


async def test_a_stranger_on_the_port_is_no_broker():
    async def hang_up(reader, writer):
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    bootstrap = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        with pytest.raises(BrokerError, match="does not answer as Kafka"):
            await wait_for_broker(bootstrap, timeout=0.5)
    finally:
        server.close()


async def test_an_address_without_port_is_told():
    with pytest.raises(BrokerError, match="'localhost' is not host:port"):
        await wait_for_broker("localhost", timeout=0.1)
