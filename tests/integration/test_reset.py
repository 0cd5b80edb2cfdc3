"""`conversion-monitor reset`, on both brokers: what it deletes, what it leaves, what it refuses."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streams.embedded import free_port
from streams.topics import TopicAdmin
from streams.topology import Topology
from tests.conftest import Broker
from tests.flow import KEYS, Flow
from tests.worker import Worker, committed, run, wait_until

PARTITIONS = 2


def config(broker: Broker, topic: str, group: str, **kafka: Any) -> dict[str, Any]:
    given = {"bootstrap_servers": broker.bootstrap, "topic": topic, "group": group, "partitions": PARTITIONS}
    return {"kafka": given | kafka, **KEYS, "checkpoint_interval": "500ms"}


def topics(broker: Broker) -> dict[str, int]:
    async def ask() -> dict[str, int]:
        async with TopicAdmin(broker.bootstrap, {}) as admin:
            return await admin.partitions()

    return asyncio.run(ask())


async def publish(broker: Broker, topic: str, flow: Flow) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, linger_ms=20)
    await producer.start()
    for key, value in flow.messages():
        await producer.send(topic, value, key=key)
    await producer.stop()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "re-keyed"])
def test_after_a_reset_the_same_events_count_from_the_beginning(
    broker: Broker, topic: str, group: str, tmp_path: Path, keyed: bool
) -> None:
    names = Topology(topic, group, keyed)
    flow = Flow(3_000, seed=5)
    truth, sent = flow.truth(), len(flow.sent)
    with Worker(tmp_path, config(broker, topic, group, keyed_by_visitor=keyed)) as worker:
        worker.start().wait_ready()
        asyncio.run(publish(broker, topic, flow))
        worker.wait_for_rates(truth)
        wait_until(
            lambda: sum(committed(broker.bootstrap, group, topic, range(PARTITIONS)).values()) == sent,
            30,
            "all is committed",
        )
        before = topics(broker)
        refused = run("reset", "--config", str(worker.config_file), "--yes")
        assert refused.returncode == 1
        assert f"workers of group {group} run" in refused.stderr
        assert "stop them all" in refused.stderr
        assert topics(broker) == before, "nothing is touched while a worker runs"

        assert worker.terminate()[0] == 0
        silent = run("reset", "--config", str(worker.config_file))
        assert silent.returncode == 2
        assert "--yes" in silent.stderr
        assert topics(broker) == before, "nothing is touched unasked"

        done = run("reset", "--config", str(worker.config_file), "--yes", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        after = topics(broker)
        gone = {name for name in before if group in name or name == topic} - after.keys()
        assert set(told["deleted"]["topics"]) == gone
        assert gone == set(names.state()) & before.keys()
        assert told["deleted"]["offsets"] is True
        assert {topic, names.dead_letter, names.alerts, names.commands} <= after.keys()
        assert not any(committed(broker.bootstrap, group, topic, range(PARTITIONS)).values())

        again = run("reset", "--config", str(worker.config_file), "--yes")
        assert again.returncode == 0, again.stderr
        assert "nothing to forget" in again.stdout

        worker.start().wait_ready()
        worker.wait_for_rates(truth)
        assert worker.metric("conversion_events_duplicate_total") == sent - 3_000, "no id was remembered"


def test_other_groups_keep_their_state(broker: Broker, topic: str, group: str, tmp_path: Path) -> None:
    with (
        Worker(tmp_path, config(broker, topic, group), "one") as one,
        Worker(tmp_path, config(broker, topic, f"{group}-2"), "two") as two,
    ):
        one.start().wait_ready()
        two.start().wait_ready()
        assert one.terminate()[0] == 0
        done = run("reset", "--config", str(one.config_file), "--yes")
        assert done.returncode == 0, done.stderr
        assert f"deleted topic {group}-shards-changelog" in done.stdout
        assert set(Topology(topic, f"{group}-2").state()) - {f"{group}-2-keyed"} <= topics(broker).keys()
        assert two.ready()


def test_topics_that_workers_may_not_create_come_with_their_commands(
    embedded: Broker, topic: str, group: str, tmp_path: Path
) -> None:
    with Worker(tmp_path, config(embedded, topic, group)) as worker:
        worker.start().wait_ready()
        assert worker.terminate()[0] == 0
        forbidding = Worker(tmp_path, config(embedded, topic, group, create_topics=False), "forbidding")
        done = run("reset", "--config", str(forbidding.config_file), "--yes")
    assert done.returncode == 0, done.stderr
    assert f"--create --topic {group}-shards-changelog --partitions {PARTITIONS}" in done.stdout


def test_a_broker_that_is_not_there_is_named(topic: str, group: str, tmp_path: Path) -> None:
    worker = Worker(tmp_path, config(Broker("none", f"127.0.0.1:{free_port()}"), topic, group))
    done = run("reset", "--config", str(worker.config_file), "--yes")
    assert done.returncode == 1
    assert "no Kafka broker at" in done.stderr


def test_the_brokers_of_a_worker_of_its_own_need_no_reset(tmp_path: Path) -> None:
    worker = Worker(tmp_path, config(Broker("none", "embedded"), "t", "g"))
    done = run("reset", "--config", str(worker.config_file), "--yes")
    assert done.returncode == 2
    assert "keeps nothing when it ends" in done.stderr
