"""What an episode happens to: a broker, links to it, and a life: a topic, a group, its workers, their load.

A life is one group from its first event to its last; many episodes happen to it one after the other, so what
one of them leaves behind in the state is there in all that follow.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.brokers import KafkaServer, create_topic
from tests.chaos.audit import Audit
from tests.chaos.network import Network
from tests.chaos.publisher import Publisher, PublisherError
from tests.chaos.watcher import Watcher
from tests.flow import KEYS, Flow
from tests.worker import Worker, free_port, read_to_end, wait_until, wait_until_committed

PARTITIONS = 4
WORKERS = 4
#: Event time between two events, milliseconds: at the usual rate some ten times as fast as the clock.
STEP_MS = 4
#: Longest time until all that was published is counted and told, seconds.
SETTLE_S = 120.0
#: What the topic of events takes; other topics have the broker's limit of 1 MB.
EVENT_BYTES = 4 << 20
Table = dict[tuple[str, str, str], dict[str, Any]]


class MismatchError(Exception):
    """The product told something that is not so; its text has a line for each number."""


class Stage:
    """The broker, with a listener and a link for each worker; use as a context."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        names = [f"LINK{i}" for i in range(WORKERS)]
        ports = {name: free_port() for name in names}
        advertised = {name: free_port() for name in names}
        plain = free_port()
        protocols = ["CONTROLLER:PLAINTEXT", "PLAINTEXT:PLAINTEXT", *(f"{name}:PLAINTEXT" for name in names)]
        told = [f"PLAINTEXT://127.0.0.1:{plain}"]
        told += [f"{name}://127.0.0.1:{port}" for name, port in advertised.items()]
        self.broker = KafkaServer(
            directory / "kafka",
            port=plain,
            listeners=ports,
            properties={
                "listener.security.protocol.map": ",".join(protocols),
                "advertised.listeners": ",".join(told),
            },
        )
        self.network = Network([(advertised[name], ports[name]) for name in names])

    def __enter__(self) -> Self:
        try:
            asyncio.run(self.broker.start())
            self.network.__enter__()
        except BaseException:
            self.broker.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.network.__exit__()
        self.broker.stop()

    @property
    def bootstrap(self) -> str:
        return self.broker.bootstrap


class Life:
    """A group with up to `WORKERS` workers, each behind its own link, and the truth about its events.

    Args:
        stage: Where it happens.
        number: Tells the lives of a run apart.
        events: How many it has at most.
        seed: Of its events.
        rate: Usual load, events a second.
    """

    def __init__(self, stage: Stage, number: int, events: int, seed: int, rate: float) -> None:
        self.stage, self.rate, self.number, self.seed = stage, rate, number, seed
        self.topic, self.group = f"events-{number}", f"monitor-{number}"
        self.changelog = f"{self.group}-shards-changelog".encode()
        self.flow = Flow(events, seed, STEP_MS)
        self.links = stage.network.links
        self.workers = [self._worker(i) for i in range(WORKERS)]
        self.publisher = Publisher(self.flow, stage.bootstrap, self.topic, PARTITIONS)
        self.watcher = Watcher(self.workers)
        self.audit = Audit(self.flow, PARTITIONS)
        #: Messages that nobody can count, as they were published.
        self.bad: list[bytes | None] = []

    def _worker(self, i: int) -> Worker:
        kafka = {
            "bootstrap_servers": f"127.0.0.1:{self.links[i].port}",
            "topic": self.topic,
            "group": self.group,
            "partitions": PARTITIONS,
        }
        config = {"kafka": kafka, **KEYS, "checkpoint_interval": "1s"}
        return Worker(self.stage.directory, config, f"life-{self.number}-worker-{i}")

    @contextlib.contextmanager
    def lived(self) -> Iterator[Self]:
        """Topic, load and watch; whatever runs in the end is killed."""
        limit = {"max.message.bytes": str(EVENT_BYTES)}
        asyncio.run(create_topic(self.stage.bootstrap, self.topic, PARTITIONS, **limit))
        try:
            with self.publisher, self.watcher:
                yield self
        finally:
            for worker in self.workers:
                worker.end()

    @property
    def running(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.running]

    @property
    def stopped(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.running]

    def staff(self, number: int, rng: random.Random) -> None:
        """Start or stop workers until so many run and are ready."""
        while len(self.running) > number:
            self.terminate(rng.choice(self.running))
        while len(self.running) < number:
            rng.choice(self.stopped).start()
        self.ready()

    def ready(self) -> None:
        for worker in self.running:
            worker.wait_ready()

    def terminate(self, worker: Worker) -> None:
        """SIGTERM, which must be a clean end within 10 s; before it answers at all, an end by the signal will do."""
        answers = worker.get("/healthz")[0] == 200
        code, seconds = worker.terminate(30.0)
        if (code != 0 and (answers or code != -signal.SIGTERM)) or seconds >= 10:
            msg = f"SIGTERM: exit code {code} after {seconds:.1f} s\n{worker.log_tail()}"
            raise MismatchError(msg)

    def truth(self) -> Table:
        return self.flow.after(self.publisher.sent).truth()

    def tend(self) -> list[str]:
        """Start workers again that have ended by themselves, as an orchestrator does; a line for each."""
        said = []
        for worker in self.workers:
            code = None if worker.process is None else worker.process.poll()
            if code not in (None, 0, -signal.SIGTERM, -signal.SIGKILL):
                errors = [line for line in worker.log().splitlines() if line.startswith("error:")]
                why = errors[-1] if errors else worker.log_tail(1)
                said.append(f"{worker.config_file.stem} ended by itself with exit code {code}: {why}")
                worker.start()
        return said

    def settle(self) -> list[str]:
        """Pause the load and compare everything with the truth; what was noticed, a line each.

        Raises:
            MismatchError: Something differs.
            PublisherError: The load itself is not as it should be.
        """
        for link in self.links:
            link.heal()
        self.publisher.pause()
        ends = asyncio.run(_ends(self.stage.bootstrap, self.topic))
        if ends != self.publisher.ends:
            msg = f"the topic ends at {ends}, and {self.publisher.ends} were published"
            raise PublisherError(msg)
        truth = self.truth()
        noticed = self.tend()
        for left in (2, 1, 0):
            try:
                self._compare_workers(truth, ends)
                break
            except AssertionError as error:
                # One that ends by itself is started again, and then must come to the same numbers.
                if not left or not (ended := self.tend()):
                    raise MismatchError(str(error)) from error
                noticed += ended
        self._compare_dead_letters()
        counts = read_to_end(
            self.stage.bootstrap, f"{self.group}-conversion-counts", 0, self.audit.next_offset
        )
        if wrong := self.audit.check(counts) + self.watcher.above(truth) + self.watcher.dips:
            raise MismatchError("\n".join(wrong))
        return noticed

    def _compare_workers(self, truth: Table, ends: dict[int, int]) -> None:
        wait_until_committed(self.stage.bootstrap, self.group, self.topic, ends, SETTLE_S, self.running)
        for worker in self.running:
            worker.wait_for_rates(truth)

    def _compare_dead_letters(self) -> None:
        """Each bad message stands there, repeats apart, and nothing else."""

        def read() -> dict[bytes, bytes | None]:
            letters = read_to_end(self.stage.bootstrap, f"{self.topic}-dead-letter", 0)
            found = {}
            for letter in letters:
                headers = dict(letter.headers)
                found[headers["partition"] + b"@" + headers["offset"]] = letter.value
            return found

        wanted = sorted(value or b"" for value in self.bad)
        found = read()
        if sorted(value or b"" for value in found.values()) != wanted:
            with contextlib.suppress(AssertionError):
                wait_until(lambda: len(read()) == len(wanted), 10, "dead letters", every_s=0.5)
            found = read()
        if sorted(value or b"" for value in found.values()) != wanted:
            lines = [f"{place.decode()}: {(value or b'')[:120]!r}" for place, value in found.items()]
            msg = f"{len(found)} dead letters, {len(wanted)} bad messages were sent\n" + "\n".join(lines[:20])
            raise MismatchError(msg)


async def _ends(bootstrap: str, topic: str) -> dict[int, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        return {tp.partition: end for tp, end in (await consumer.end_offsets(tps)).items()}
    finally:
        await consumer.stop()
