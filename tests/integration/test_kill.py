"""kill -9 of workers while a million events flow: every number is exact, every offset committed.

`KILL_SEED` sets the seed of the moments (printed otherwise), `KILL_EVENTS` the number of events.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
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
from tests.worker import Worker, wait_until_committed

PARTITIONS = 4
EVENTS = int(os.environ.get("KILL_EVENTS", "1000000"))
KILLS = 10
#: Events a second: so that the flow lasts as long as the kills.
RATE = 15_000
FLOW_SEED = 7


def config(broker: Broker, topic: str, group: str, **changes: Any) -> dict[str, Any]:
    kafka = {"bootstrap_servers": broker.bootstrap, "topic": topic, "group": group, "partitions": PARTITIONS}
    return {"kafka": kafka, **KEYS, **changes}


@pytest.fixture
def publishing(kafka: Broker, topic: str) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts publishing a flow into the topic from a process of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(events: int, seed: int, rate: float) -> subprocess.Popen[bytes]:
        asyncio.run(create_topic(kafka.bootstrap, topic, PARTITIONS))
        command = [sys.executable, "-m", "tests.flow", "--bootstrap", kafka.bootstrap, "--topic", topic]
        command += ["--partitions", str(PARTITIONS), "--events", str(events), "--seed", str(seed)]
        command += ["--rate", str(rate)]
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def ends_of(process: subprocess.Popen[bytes], timeout_s: float) -> dict[int, int]:
    """End offset of each partition, once everything is published."""
    out, _ = process.communicate(timeout=timeout_s)
    assert process.returncode == 0
    return {int(partition): end for partition, end in json.loads(out).items()}


def assert_exact(
    workers: list[Worker], truth: dict[Any, Any], broker: Broker, group: str, topic: str, ends: dict[int, int]
) -> None:
    wait_until_committed(broker.bootstrap, group, topic, ends, 180, workers)
    for worker in workers:
        worker.wait_for_rates(truth)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [1, 2], ids=["one worker", "two workers"])
def test_kill_9_at_ten_random_points_of_a_million_events(
    kafka: Broker,
    topic: str,
    group: str,
    tmp_path: Path,
    publishing: Callable[..., subprocess.Popen[bytes]],
    number: int,
) -> None:
    seed = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"KILL_SEED={seed}")
    rng = random.Random(seed)
    flow = publishing(EVENTS, FLOW_SEED, RATE)
    given = config(kafka, topic, group, checkpoint_interval="1s")
    workers = [Worker(tmp_path, given, f"worker-{i}").start() for i in range(number)]
    try:
        for _ in range(KILLS):
            # From before it has joined the group until well into its checkpoints.
            time.sleep(rng.uniform(0.2, 12.0))
            worker = rng.choice(workers)
            assert worker.running, f"a worker has ended by itself:\n{worker.log_tail()}"
            worker.kill()
            time.sleep(rng.choice([0.0, rng.uniform(0, 3.0)]))
            worker.start()
        ends = ends_of(flow, 600)
        assert_exact(workers, Flow(EVENTS, FLOW_SEED).truth(), kafka, group, topic, ends)
        for worker in workers:
            code, seconds = worker.terminate()
            assert (code, seconds < 10) == (0, True), worker.log_tail()
    finally:
        for worker in workers:
            worker.end()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stops_and_joins_while_events_flow(
    kafka: Broker,
    topic: str,
    group: str,
    tmp_path: Path,
    publishing: Callable[..., subprocess.Popen[bytes]],
) -> None:
    """SIGTERM and workers that join and leave: a stop and a revocation are checkpoints too."""
    rng = random.Random(11)
    flow = publishing(EVENTS // 3, 8, RATE)
    given = config(kafka, topic, group)
    first, second = (Worker(tmp_path, given, name) for name in ("first", "second"))
    with first, second:
        first.start().wait_ready()
        for _ in range(3):
            second.start()
            time.sleep(rng.uniform(3, 8))
            code, seconds = second.terminate()
            assert (code, seconds < 10) == (0, True), second.log_tail()
        second.start()
        code, seconds = first.terminate()
        assert (code, seconds < 10) == (0, True), first.log_tail()
        ends = ends_of(flow, 300)
        assert_exact([second], Flow(EVENTS // 3, 8).truth(), kafka, group, topic, ends)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_zombie_moves_no_number(
    kafka: Broker,
    topic: str,
    group: str,
    tmp_path: Path,
    publishing: Callable[..., subprocess.Popen[bytes]],
) -> None:
    """A worker that hangs longer than its session, and wakes up when another has its partitions."""
    flow = publishing(EVENTS // 3, 9, RATE)
    given = config(kafka, topic, group, checkpoint_interval="1s")
    zombie, heir = (Worker(tmp_path, given, name) for name in ("zombie", "heir"))
    with zombie, heir:
        zombie.start().wait_ready()
        time.sleep(5)
        zombie.pause()
        heir.start().wait_ready()
        time.sleep(8)
        zombie.resume()
        time.sleep(5)
        ends = ends_of(flow, 300)
        assert_exact([heir], Flow(EVENTS // 3, 9).truth(), kafka, group, topic, ends)
        assert zombie.running, zombie.log_tail()
