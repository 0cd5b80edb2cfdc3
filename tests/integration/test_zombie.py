"""Workers that hang, come back, join and leave while events flow: every number exact, every offset committed."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import create_topic
from tests.conftest import PROJECT, Broker
from tests.flow import KEYS, Flow
from tests.worker import Worker, wait_until, wait_until_committed

PARTITIONS = 3
EVENTS = 120_000
#: Longer than the session timeout of 6 s, so that the group gives the partitions away.
HANGS_S = 11

Publish = Callable[[int, float | None], subprocess.Popen[bytes]]


@pytest.fixture
def publish(kafka: Broker, topic: str) -> Iterator[Publish]:
    """Publishes the flow of a seed from a process of its own; without a rate as fast as it can."""
    started: list[subprocess.Popen[bytes]] = []

    def start(seed: int, rate: float | None = None) -> subprocess.Popen[bytes]:
        asyncio.run(create_topic(kafka.bootstrap, topic, PARTITIONS))
        command = [sys.executable, "-m", "tests.flow", "--bootstrap", kafka.bootstrap, "--topic", topic]
        command += ["--partitions", str(PARTITIONS), "--events", str(EVENTS), "--seed", str(seed)]
        command += [] if rate is None else ["--rate", str(rate)]
        started.append(subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def config(kafka: Broker, topic: str, group: str) -> dict[str, Any]:
    at = {"bootstrap_servers": kafka.bootstrap, "topic": topic, "group": group, "partitions": PARTITIONS}
    return {"kafka": at, **KEYS, "checkpoint_interval": "1s"}


def ends_of(process: subprocess.Popen[bytes]) -> dict[int, int]:
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    return {int(partition): end for partition, end in json.loads(out).items()}


def assert_exact(
    workers: list[Worker], seed: int, kafka: Broker, group: str, topic: str, ends: dict[int, int]
) -> None:
    wait_until_committed(kafka.bootstrap, group, topic, ends, 120, workers)
    truth = Flow(EVENTS, seed).truth()
    for worker in workers:
        worker.wait_for_rates(truth)
    assert sum(ends.values()) > EVENTS, "repeats are among the messages"


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_worker_that_hangs_and_wakes_up_twice_changes_no_number(
    kafka: Broker, topic: str, group: str, tmp_path: Path, publish: Publish, config: dict[str, Any]
) -> None:
    """SIGSTOP for longer than its session while another takes over, SIGCONT, then the same to the other one."""
    flow = publish(21, 2_500)
    first, second = (Worker(tmp_path, config, name) for name in ("first", "second"))
    with first, second:
        first.start().wait_ready()
        second.start().wait_ready()
        time.sleep(4)
        for zombie, heir in ((first, second), (second, first)):
            zombie.pause()
            time.sleep(HANGS_S)
            counted = heir.metric("conversion_events_total")
            zombie.resume()
            wait_until(
                lambda heir=heir, counted=counted: heir.metric("conversion_events_total") > counted,
                60,
                f"the heir counts:\n{heir.log_tail()}",
            )
            zombie.wait_ready()
        ends = ends_of(flow)
        assert_exact([first, second], 21, kafka, group, topic, ends)
        for worker in (first, second):
            code, _ = worker.terminate()
            assert code == 0, worker.log_tail()


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_worker_killed_while_it_hangs_leaves_nothing_behind(
    kafka: Broker, topic: str, group: str, tmp_path: Path, publish: Publish, config: dict[str, Any]
) -> None:
    """As an orchestrator does it: the probe fails, the process is killed, a new one of the same name starts."""
    flow = publish(22, 4_000)
    first, second = (Worker(tmp_path, config, name) for name in ("first", "second"))
    with first, second:
        first.start().wait_ready()
        time.sleep(5)
        first.pause()
        second.start().wait_ready()
        first.kill()
        first.start().wait_ready()
        ends = ends_of(flow)
        assert_exact([first, second], 22, kafka, group, topic, ends)


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_workers_join_and_leave_during_a_backlog(
    kafka: Broker, topic: str, group: str, tmp_path: Path, publish: Publish, config: dict[str, Any]
) -> None:
    """Three workers come one by one while there is a backlog; the first leaves by SIGTERM, the second by kill -9."""
    ends = ends_of(publish(23))
    workers = [Worker(tmp_path, config, f"worker-{i}") for i in range(3)]
    first, second, third = workers
    with first, second, third:
        first.start()
        time.sleep(2)
        second.start()
        first.wait_ready()
        second.wait_ready()
        third.start()
        code, seconds = first.terminate()
        assert (code, seconds < 10) == (0, True), first.log_tail()
        third.wait_ready()
        second.kill()
        assert_exact([third], 23, kafka, group, topic, ends)
        first.start().wait_ready()
        assert_exact([third, first], 23, kafka, group, topic, ends)


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_three_workers_of_which_one_after_the_other_dies(
    kafka: Broker, topic: str, group: str, tmp_path: Path, publish: Publish, config: dict[str, Any]
) -> None:
    """Each looks on for several rebalances before a partition comes to it: its state must be whole all the same."""
    flow = publish(24, 2_500)
    workers = [Worker(tmp_path, config, f"worker-{i}") for i in range(3)]
    first, second, third = workers
    with first, second, third:
        for worker in workers:
            worker.start().wait_ready()
            time.sleep(6)
        second.kill()
        time.sleep(12)
        second.start().wait_ready()
        time.sleep(6)
        first.kill()
        time.sleep(12)
        third.kill()
        ends = ends_of(flow)
        assert_exact([second], 24, kafka, group, topic, ends)
        logs = "\n".join(worker.log() for worker in workers)
        claims = re.findall(r"partition (\d+): claimed as epoch (\d+)", logs)
        assert len(claims) > PARTITIONS
        assert len(set(claims)) == len(claims), f"whoever claims has read all earlier claims: {claims}"
