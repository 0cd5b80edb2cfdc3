"""The doctor against brokers with healthy and with ill publishers."""

import json
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from monitor.placement import crc32_partition
from streams.doctor import Subject, examine
from streams.embedded import free_port
from streams.offsets import committed_offsets, end_offsets
from streams.topology import Topology, ensure_topics
from tests.brokers import create_topic
from tests.integration.test_publish import run


async def send(bootstrap, topic, visitors, *, librdkafka=False, key=str.encode, age_ms=500, value=None):
    """Events of visitors now; `librdkafka` places them as its default partitioner does."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5)
    await producer.start()
    for visitor in visitors:
        at = int(time.time() * 1000) - age_ms
        event = {"event": "page_view", "visitor_id": visitor, "timestamp": at}
        k = key(visitor) if key else None
        partition = crc32_partition(k, 4) if librdkafka else None
        await producer.send(topic, value or json.dumps(event).encode(), key=k, partition=partition)
    await producer.stop()


async def commit(bootstrap, topic, group, short=0):
    partitions = [TopicPartition(topic, p) for p in range(4)]
    ends = await end_offsets(bootstrap, partitions)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    consumer.assign(partitions)
    await consumer.commit({tp: max(0, end - short) for tp, end in ends.items()})
    await consumer.stop()
    return ends


def by_check(findings):
    return {f.check: (f.status, f.detail) for f in findings}


VISITORS = [f"v{n}" for n in range(300)]


async def test_a_healthy_installation_has_nothing_wrong(broker, topic, group):
    names = Topology(topic, group)
    await ensure_topics(broker.bootstrap, names)
    await send(broker.bootstrap, topic, VISITORS)
    ends = await commit(broker.bootstrap, topic, group)
    assert await committed_offsets(broker.bootstrap, group, ends) == ends
    findings = await examine(Subject(broker.bootstrap, names, partitions=4), time.time())
    assert {f.status for f in findings} == {"ok"}, findings
    assert set(by_check(findings)) == {"broker", "topics", "keys", "contract", "clock", "lag"}


async def test_two_publishers_of_both_kinds_are_found_out(broker, topic, group):
    await create_topic(broker.bootstrap, topic, 4)
    await send(broker.bootstrap, topic, VISITORS[:200])
    await send(broker.bootstrap, topic, VISITORS[100:], librdkafka=True)
    findings = by_check(await examine(Subject(broker.bootstrap, Topology(topic, group)), time.time()))
    status, detail = findings["keys"]
    assert status == "wrong"
    assert "a librdkafka client placed them by CRC32" in detail
    assert "visitors are in several partitions" in detail


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"key": None}, "300 of 300 recent messages have no key"),
        ({"key": lambda v: json.dumps(v).encode()}, "300 of 300 recent messages have a key that is not"),
        ({"librdkafka": True}, "placed them by CRC32"),
    ],
)
async def test_wrong_keys(embedded, topic, group, how, says):
    await create_topic(embedded.bootstrap, topic, 4)
    await send(embedded.bootstrap, topic, VISITORS, **how)
    findings = by_check(await examine(Subject(embedded.bootstrap, Topology(topic, group)), time.time()))
    assert findings["keys"][0] == "wrong"
    assert says in findings["keys"][1]


async def test_events_of_the_future_and_what_cannot_be_counted(embedded, topic, group):
    await create_topic(embedded.bootstrap, topic, 4)
    await send(embedded.bootstrap, topic, VISITORS[:10], age_ms=-10_800_000)
    await send(embedded.bootstrap, topic, VISITORS[:3], value=b"{")
    await send(embedded.bootstrap, topic, VISITORS[:20])
    findings = by_check(await examine(Subject(embedded.bootstrap, Topology(topic, group)), time.time()))
    assert findings["clock"] == (
        "wrong",
        "event times are up to 3.0 h ahead of now, and such events are rejected",
    )
    assert findings["contract"] == (
        "note",
        "13 of 33 recent messages are rejected: in_future 10, not_json 3",
    )


async def test_a_worker_that_stands_still_is_wrong_only_after_a_while(broker, topic, group):
    await create_topic(broker.bootstrap, topic, 4)
    subject = Subject(broker.bootstrap, Topology(topic, group))
    await send(broker.bootstrap, topic, VISITORS)
    assert by_check(await examine(subject, time.time()))["lag"][0] == "note"
    await commit(broker.bootstrap, topic, group, short=5)
    status, detail = by_check(await examine(subject, time.time()))["lag"]
    assert status == "ok"
    assert f"{group} is 20 messages behind" in detail
    assert by_check(await examine(subject, time.time() + 600))["lag"][0] == "wrong"


async def test_topics_that_do_not_fit(broker, topic, group):
    names = Topology(topic, group)
    await create_topic(broker.bootstrap, topic, 4)
    findings = await examine(Subject(broker.bootstrap, names, partitions=4), time.time())
    assert [f.status for f in findings if f.check == "topics"] == ["ok", "note"]
    strict = Subject(broker.bootstrap, names, partitions=4, create_topics=False)
    assert [f.status for f in await examine(strict, time.time()) if f.check == "topics"] == ["ok", "wrong"]
    await create_topic(broker.bootstrap, names.shards_changelog, 3)
    status, detail = by_check(await examine(strict, time.time()))["topics"]
    assert status == "wrong"
    assert "has 4 partitions, but the state in" in detail


async def test_looking_changes_nothing(embedded, topic, group):
    subject = Subject(embedded.bootstrap, Topology(topic, group), partitions=4)
    for _ in range(2):
        assert by_check(await examine(subject, time.time()))["topics"][0] == "note"


async def test_command_on_a_healthy_topic(embedded, topic):
    await create_topic(embedded.bootstrap, topic, 4)
    await send(embedded.bootstrap, topic, VISITORS)
    done = run("doctor", "--bootstrap", embedded.bootstrap, "--topic", topic, "--group", topic)
    assert done.returncode == 0, done.stdout
    assert "ok     keys      300 recent messages are keyed by visitor" in done.stdout
    assert "\x1b" not in done.stdout
    done = run("doctor", "--bootstrap", embedded.bootstrap, "--topic", topic, "--json")
    told = json.loads(done.stdout)
    assert told["ok"] is True
    assert {f["check"] for f in told["findings"]} == {"broker", "topics", "keys", "contract", "clock", "lag"}


async def test_command_on_an_ill_topic_exits_1_with_the_remedy(embedded, topic, tmp_path):
    await create_topic(embedded.bootstrap, topic, 4)
    await send(embedded.bootstrap, topic, VISITORS, librdkafka=True)
    config = tmp_path / "monitor.yaml"
    config.write_text(
        f"kafka: {{bootstrap_servers: '{embedded.bootstrap}', topic: {topic}, group: {topic}-g}}\n"
        "goals: {purchase: {kind: macro, match: {event: purchase}}}\n"
    )
    done = run("doctor", "--config", config)
    assert done.returncode == 1
    assert "→ set partitioner=murmur2_random there, or set kafka.keyed_by_visitor: false here" in done.stdout


def test_command_without_broker_exits_1():
    bootstrap = f"127.0.0.1:{free_port()}"
    done = run("doctor", "--bootstrap", bootstrap)
    assert done.returncode == 1
    assert f"no Kafka at {bootstrap}: connection refused" in done.stdout
