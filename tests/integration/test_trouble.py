"""What goes wrong around a worker: brokers that are down, ports in use, topics that do not fit, signals."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests import oracle
from tests.brokers import KafkaServer, create_topic
from tests.conftest import Broker
from tests.murmur2 import partition_of
from tests.worker import Worker, free_port, read_all, run, wait_until, wait_until_committed

PARTITIONS = 2
NOON = 1_705_320_000_000
KEYS: dict[str, Any] = {
    "clock": "event",
    "windows": ["1m", "1h"],
    "goals": {"purchase": {"kind": "macro", "match": {"event": "purchase"}}},
}


def config(
    bootstrap: str, topic: str, group: str, kafka: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    given = {"bootstrap_servers": bootstrap, "topic": topic, "group": group, "partitions": PARTITIONS}
    return {"kafka": given | (kafka or {}), **KEYS, **more}


def events(n: int, since: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "event": "purchase" if i % 5 == 0 else "page_view",
            "visitor_id": f"v{i % 37}",
            "timestamp": NOON + i * 20,
            "event_id": f"e{i}",
        }
        for i in range(since, n)
    ]


async def send(bootstrap: str, topic: str, found: list[dict[str, Any]]) -> None:
    """Sends events at least once: a try again may leave one twice."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for event in found:
            name = event["visitor_id"]
            await producer.send_and_wait(
                topic, json.dumps(event).encode(), name.encode(), partition_of(name, PARTITIONS)
            )
    finally:
        await producer.stop()


def truth(found: list[dict[str, Any]]) -> dict[Any, Any]:
    spread: list[list[dict[str, Any]]] = [[] for _ in range(PARTITIONS)]
    for event in found:
        spread[partition_of(event["visitor_id"], PARTITIONS)].append(event)
    return oracle.table(oracle.rows(KEYS, spread))


def wait_for_truth(worker: Worker, found: list[dict[str, Any]], timeout_s: float = 60) -> None:
    expected = truth(found)
    worker.wait_for_rates(expected, timeout_s)


# --- brokers that come and go -----------------------------------------------------------------------


@pytest.mark.timeout(180)
def test_a_broker_that_is_down_at_the_start_is_waited_for(
    kafka_server: KafkaServer, topic: str, group: str, tmp_path: Path
) -> None:
    with Worker(tmp_path, config(kafka_server.bootstrap, topic, group)) as worker:
        worker.start()
        wait_until(lambda: kafka_server.bootstrap in worker.log(), 30, "the log says what is tried")
        wait_until(lambda: worker.get("/healthz")[0] == 200, 30, "the worker answers while it waits")
        status, body = worker.get("/readyz")
        assert status == 503
        assert json.loads(body)["reasons"]
        time.sleep(5)
        assert worker.running, worker.log_tail()
        assert "Traceback" not in worker.log()
        asyncio.run(kafka_server.start())
        worker.wait_ready()
        found = events(200)
        asyncio.run(send(kafka_server.bootstrap, topic, found))
        wait_for_truth(worker, found)


@pytest.mark.timeout(240)
def test_a_broker_that_goes_away_and_returns(
    kafka_server: KafkaServer, topic: str, group: str, tmp_path: Path
) -> None:
    """For longer than the session of the group; nothing is lost and nothing counted twice."""
    asyncio.run(kafka_server.start())
    found = events(900)
    with Worker(tmp_path, config(kafka_server.bootstrap, topic, group)) as worker:
        worker.start().wait_ready()
        asyncio.run(send(kafka_server.bootstrap, topic, found[:300]))
        wait_for_truth(worker, found[:300])
        kafka_server.kill()
        wait_until(lambda: not worker.ready(), 60, "/readyz says no")
        assert worker.running, worker.log_tail()
        time.sleep(10)
        assert worker.running, worker.log_tail()
        asyncio.run(kafka_server.start())
        worker.wait_ready()
        asyncio.run(send(kafka_server.bootstrap, topic, found[300:600]))
        wait_for_truth(worker, found[:600])
        kafka_server.stop()  # this time with a goodbye, and only for a moment
        asyncio.run(kafka_server.start())
        worker.wait_ready()
        asyncio.run(send(kafka_server.bootstrap, topic, found[600:]))
        wait_for_truth(worker, found)
        assert worker.terminate()[0] == 0, worker.log_tail()


# --- what cannot work is an error with a remedy -------------------------------------------------------


def ends_with_an_error(worker: Worker, *words: str, timeout_s: float = 40) -> str:
    """The log of a worker that ends by itself with exit code 1, and names things."""
    worker.start()
    code = worker.wait_for_end(timeout_s)
    text = worker.log()
    assert code == 1, text
    assert "Traceback" not in text
    error = text[text.index("error:") :]
    assert "→" in error, error
    for word in words:
        assert word in error
    return error


def test_a_port_in_use(kafka: Broker, topic: str, group: str, tmp_path: Path) -> None:
    with Worker(tmp_path, config(kafka.bootstrap, topic, group)) as worker, socket.socket() as other:
        other.bind(("127.0.0.1", worker.port))
        other.listen()
        ends_with_an_error(worker, str(worker.port), "port")


def test_a_missing_topic_that_must_not_be_created(
    kafka: Broker, topic: str, group: str, tmp_path: Path
) -> None:
    with Worker(tmp_path, config(kafka.bootstrap, topic, group, {"create_topics": False})) as worker:
        ends_with_an_error(worker, topic, "create_topics")


def test_a_topic_that_got_more_partitions_than_the_state_has(
    kafka: Broker, topic: str, group: str, tmp_path: Path
) -> None:
    """Visitors would lie on other partitions than their state."""
    asyncio.run(create_topic(kafka.bootstrap, topic, PARTITIONS))
    asyncio.run(
        create_topic(kafka.bootstrap, f"{group}-shards-changelog", 3, **{"cleanup.policy": "compact"})
    )
    with Worker(tmp_path, config(kafka.bootstrap, topic, group)) as worker:
        ends_with_an_error(worker, topic, f"{group}-shards-changelog", "2", "3")


def test_state_of_an_unknown_version(kafka: Broker, topic: str, group: str, tmp_path: Path) -> None:
    """A record that another release wrote: both versions are named, and the state is left as it is."""
    found = events(100)
    with Worker(tmp_path, config(kafka.bootstrap, topic, group, checkpoint_interval="500ms")) as worker:
        worker.start().wait_ready()
        asyncio.run(send(kafka.bootstrap, topic, found))
        wait_for_truth(worker, found)
        assert worker.terminate()[0] == 0
        spoil_the_state(kafka.bootstrap, f"{group}-shards-changelog")
        ends_with_an_error(worker, "version")


def spoil_the_state(bootstrap: str, changelog: str) -> None:
    """Writes the last record of each key once more, with another number where its version stands."""
    latest = {(r.partition, r.key): r for r in read_all(bootstrap, changelog, {0: 1_000, 1: 1_000})}

    async def write() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        await producer.start()
        for (partition, key), record in latest.items():
            if record.value:
                # msgpack: an array, then the version as one small number
                value = record.value[:1] + b"\x63" + record.value[2:]
                await producer.send_and_wait(changelog, value, key, partition)
        await producer.stop()

    assert latest
    asyncio.run(write())


def test_a_config_with_errors_is_exit_2_with_every_line(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("windows: [5x]\ngoals:\n  view: {kind: macro, match: {event: page_view}}\nsurprise: 1\n")
    for command in (("run", "--config", str(file)), ("check-config", str(file))):
        done = run(*command)
        assert done.returncode == 2, done.stdout + done.stderr
        for line in ("1", "3", "4"):
            assert f"wrong.yaml:{line}:" in done.stdout + done.stderr


# --- signals ----------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_last_checkpoint_and_exit_0(
    broker: Broker, topic: str, group: str, tmp_path: Path, number: signal.Signals
) -> None:
    found = events(500)
    given = config(broker.bootstrap, topic, group, checkpoint_interval="5m")
    with Worker(tmp_path, given) as worker:
        worker.start().wait_ready()
        asyncio.run(send(broker.bootstrap, topic, found))
        wait_for_truth(worker, found)
        assert worker.process is not None
        began = time.monotonic()
        worker.process.send_signal(number)
        assert worker.process.wait(15) == 0, worker.log_tail()
        assert time.monotonic() - began < 10
        assert "Traceback" not in worker.log()
        ends = {
            p: sum(partition_of(e["visitor_id"], PARTITIONS) == p for e in found) for p in range(PARTITIONS)
        }
        worker.start().wait_ready()  # so that the next line looks at a living worker
        wait_until_committed(broker.bootstrap, group, topic, ends, 5, [worker])
        wait_for_truth(worker, found)


@pytest.mark.parametrize("after_s", [0.05, 0.5, 1.0, 2.0, 3.0, 4.0])
def test_a_signal_while_it_starts(
    kafka: Broker, topic: str, group: str, tmp_path: Path, after_s: float
) -> None:
    """At any moment of its start, also before Python has set its handlers, it ends soon and quietly."""
    with Worker(tmp_path, config(kafka.bootstrap, topic, group)) as worker:
        worker.start()
        time.sleep(after_s)
        code, seconds = worker.terminate()
        assert code in (0, -signal.SIGTERM), worker.log_tail()
        assert seconds < 10
        assert "Traceback" not in worker.log(), worker.log_tail()


def test_a_signal_while_the_broker_is_down(topic: str, group: str, tmp_path: Path) -> None:
    with Worker(tmp_path, config(f"127.0.0.1:{free_port()}", topic, group)) as worker:
        worker.start()
        wait_until(lambda: worker.get("/healthz")[0] == 200, 30, "it has started")
        code, seconds = worker.terminate()
        assert code == 0, worker.log_tail()
        assert seconds < 10


# --- time -------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_a_silent_partition_holds_nobody_back(broker: Broker, topic: str, group: str, tmp_path: Path) -> None:
    """One partition has its only event long before the others; the totals are of the latest event time."""
    one = "v0"
    other = next(f"v{i}" for i in range(1, 99) if partition_of(f"v{i}", 2) != partition_of(one, 2))
    found = [
        {"event": "purchase", "visitor_id": one, "timestamp": NOON},
        *({"event": "page_view", "visitor_id": other, "timestamp": NOON + i * 60_000} for i in range(90)),
    ]
    with Worker(tmp_path, config(broker.bootstrap, topic, group)) as worker:
        worker.start().wait_ready()
        for begin, end in pairwise((0, 1, 30, 60, 91)):
            asyncio.run(send(broker.bootstrap, topic, found[begin:end]))
            wait_for_truth(worker, found[:end], 20)


@pytest.mark.timeout(120)
def test_numbers_decline_by_the_wall_clock_when_traffic_stops(
    broker: Broker, topic: str, group: str, tmp_path: Path
) -> None:
    given = config(broker.bootstrap, topic, group, clock="wall", windows=["5s", "1h"], idle_after="1s")
    with Worker(tmp_path, given) as worker:
        worker.start().wait_ready()
        now = time.time_ns() // 1_000_000
        found = [{"event": "purchase", "visitor_id": f"v{i}", "timestamp": now - i} for i in range(20)]
        asyncio.run(send(broker.bootstrap, topic, found))

        def visitors() -> dict[str, int]:
            return {row.window: row.visitors for row in worker.rates() or []}

        wait_until(lambda: visitors() == {"5s": 20, "1h": 20}, 4, "all are counted at once")
        wait_until(lambda: visitors() == {"5s": 0, "1h": 20}, 15, "the short window has let them go")
