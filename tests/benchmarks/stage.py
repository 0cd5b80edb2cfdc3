"""Where the benchmarks play: one Apache Kafka with its topics, workers beside it, and what they use."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from tests.benchmarks.bare import waited
from tests.benchmarks.load import PARTITIONS, Message, fill
from tests.brokers import KafkaServer, create_topic
from tests.worker import Worker, committed, wait_until

PROJECT = Path(__file__).resolve().parent.parent.parent
GOALS: dict[str, Any] = {
    "purchase": {"kind": "macro", "match": {"event": "purchase"}, "revenue": "value"},
    "add_to_cart": {"kind": "micro", "match": {"event": "add_to_cart"}},
    "sign_up": {"kind": "micro", "match": {"event": "sign_up"}},
}
#: What the figures are for: three dimensions, three goals, four windows; all else as by default.
CONFIG: dict[str, Any] = {
    "windows": ["1m", "5m", "1h", "24h"],
    "dimensions": {"device": {}, "channel": {}, "country": {}},
    "goals": GOALS,
}
#: No worker needs as long for anything here.
PATIENCE_S = 300.0


def stop_all_on_sigterm() -> None:
    """Let SIGTERM end this process the way an error does, so that all that was started is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def say(text: str) -> None:
    """A line of progress."""
    print(f"  {text}", flush=True)


@dataclass(frozen=True)
class Usage:
    """What counting some events took."""

    events: int
    seconds: float
    cpu_s: float
    waited_s: float

    @property
    def waited(self) -> float:
        """Share of the time in which a thread of it could run but had no core: others had them all."""
        return self.waited_s / self.seconds

    @property
    def per_second(self) -> float:
        return self.events / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU microseconds an event."""
        return self.cpu_s / self.events * 1e6


class Stage:
    """A broker (with these properties) in a directory of its own, and all that runs against it; use as a context."""

    def __init__(self, directory: Path, **properties: str) -> None:
        self.directory = directory
        self._server = KafkaServer(directory / "kafka", properties=properties)
        self._numbers = itertools.count(1)
        self._workers: list[Worker] = []
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        # A broker that starts does not answer at first.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        try:
            asyncio.run(self._server.start())
        except BaseException:
            self._server.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.kill()
            child.wait()
        for worker in self._workers:
            worker.end()
        self._server.stop()

    @property
    def bootstrap(self) -> str:
        return self._server.bootstrap

    def new_topic(self, **configs: str) -> str:
        name = f"events-{next(self._numbers)}"
        asyncio.run(create_topic(self.bootstrap, name, PARTITIONS, **configs))
        return name

    def child(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """A module of the tests as a process of its own, which says something on its standard output."""
        command = [sys.executable, "-m", module, *arguments]
        self._children.append(subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE))
        return self._children[-1]

    def fill(self, topic: str, messages: Iterable[Message]) -> int:
        """Write messages to a topic; how many bytes their values have."""
        return asyncio.run(fill(self.bootstrap, topic, messages))

    def stored_bytes(self, topic: str) -> int:
        """Bytes of a topic's records in the broker's files."""
        data = self.directory / "kafka" / "data"
        return sum(
            file.stat().st_size
            for partition in range(PARTITIONS)
            for file in (data / f"{topic}-{partition}").glob("*.log")
        )

    def worker(self, topic: str, **changes: Any) -> Worker:
        """A worker of a new group, which has counted nothing yet; not started."""
        group = f"g{next(self._numbers)}"
        kafka = {"bootstrap_servers": self.bootstrap, "topic": topic, "group": group}
        worker = Worker(self.directory, {"kafka": kafka, **CONFIG, **changes}, group)
        self._workers.append(worker)
        return worker

    def sibling(self, worker: Worker) -> Worker:
        """Another worker of the same group; not started."""
        config = json.loads(worker.config_file.read_text())
        changes = {key: value for key, value in config.items() if key not in ("http", "data_dir")}
        other = Worker(self.directory, changes, f"w{next(self._numbers)}")
        self._workers.append(other)
        return other

    def changelog_bytes(self, worker: Worker) -> int:
        """Bytes that a worker's group has written of its state."""
        return self.stored_bytes(f"{group_of(worker)}-shards-changelog")

    def committed(self, worker: Worker, topic: str) -> int:
        """Events whose offsets are committed, over all partitions."""
        return sum(committed(self.bootstrap, group_of(worker), topic, range(PARTITIONS)).values())

    def wait_committed(self, worker: Worker, topic: str, events: int) -> None:
        """Returns when so many events are counted and saved."""
        wait_until(
            lambda: self.committed(worker, topic) == events, PATIENCE_S, "all is committed", every_s=0.5
        )

    def bare(self, topic: str) -> Usage:
        """The yardstick on a topic."""
        command = [sys.executable, "-m", "tests.benchmarks.bare", self.bootstrap, topic, str(PARTITIONS)]
        done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, check=True, timeout=PATIENCE_S)
        found = json.loads(done.stdout)
        return Usage(int(found["events"]), found["seconds"], found["cpu_s"], found["waited_s"])


def group_of(worker: Worker) -> str:
    group: str = json.loads(worker.config_file.read_text())["kafka"]["group"]
    return group


@dataclass(frozen=True)
class Spent:
    """CPU seconds of processes so far, and seconds in which a thread of them could run but had no core."""

    cpu_s: float
    waited_s: float

    def since(self, before: Spent) -> Spent:
        return Spent(self.cpu_s - before.cpu_s, self.waited_s - before.waited_s)


def spent_by(*workers: Worker) -> Spent:
    """What these workers have used so far."""
    cpu_s = waited_s = 0.0
    for worker in workers:
        assert worker.process is not None
        times = psutil.Process(worker.process.pid).cpu_times()
        cpu_s += times.user + times.system
        waited_s += waited(worker.process.pid)
    return Spent(cpu_s, waited_s)


def rss(worker: Worker) -> int:
    """Resident memory of a worker, bytes."""
    assert worker.process is not None
    size: int = psutil.Process(worker.process.pid).memory_info().rss
    return size


def events_of(*workers: Worker) -> int:
    """Events that these workers have counted since they started."""
    return int(sum(worker.metric("conversion_events_total") for worker in workers))


def count_all(worker: Worker, events: int) -> Usage:
    """From a worker's first to its last counted event.

    Asking for /metrics costs the worker some milliseconds, so that it is asked often only around both ends.
    """
    deadline = time.monotonic() + PATIENCE_S
    samples = [(events_of(worker), time.perf_counter(), spent_by(worker))]
    while samples[-1][0] < events:
        assert worker.running, f"the worker has ended:\n{worker.log_tail()}"
        assert time.monotonic() < deadline, f"{samples[-1][0]} of {events} events after {PATIENCE_S:g} s"
        time.sleep(_pause([(counted, at) for counted, at, _ in samples], events))
        samples.append((events_of(worker), time.perf_counter(), spent_by(worker)))
        if samples[-1][0] == 0:
            samples = samples[-1:]  # it begins no earlier than now
    (first, t0, before), (last, t1, after) = samples[0], samples[-1]
    spent = after.since(before)
    return Usage(last - first, t1 - t0, spent.cpu_s, spent.waited_s)


def _pause(samples: list[tuple[int, float]], events: int) -> float:
    if len(samples) < 3:
        return 0.02
    (first, t0), (last, t1) = samples[0], samples[-1]
    left_s = (events - last) * (t1 - t0) / max(last - first, 1)
    return min(1.0, max(0.04, left_s * 0.8))


def total(worker: Worker, goal: str | None = None, window: str = "24h") -> int:
    """All visitors of a window, or all conversions of a goal; -1 while nobody says it."""
    status, body = worker.get(f"/api/v1/rates?window={window}&dimension=all")
    rows = json.loads(body)["rows"] if status == 200 else []
    if not rows:
        return -1
    return int(rows[0]["visitors"] if goal is None else rows[0]["goals"][goal]["conversions"])
