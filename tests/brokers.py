"""Apache Kafka for tests: one node in KRaft mode, from its jars, on loopback.

`KafkaServer` starts it, kills it, starts it again on the same directory and port, and stops it, all by its
process id.

Three environment variables steer it: `KAFKA_BOOTSTRAP` names a running cluster to use instead, `KAFKA_JARS` a
directory with the jars (nothing is fetched then), `CI` turns every reason to skip into a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from streams.deathwatch import dies_with_parent
from streams.embedded import HOST, free_port

KAFKA_VERSION = "4.3.1"
LOG4J_VERSION = "2.24.3"
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "kafka"
READY_TIMEOUT_S = 60.0
FETCH_TIMEOUT_S = 600.0
HEAP = "-Xmx512m"

POM = f"""<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>kafka-jars</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId>
      <version>{LOG4J_VERSION}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J_VERSION}</version></dependency>
  </dependencies>
</project>
"""

PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
"""


class KafkaUnavailableError(Exception):
    """Apache Kafka cannot be had here; says why."""


def fetch_jars() -> Path:
    """Directory of Kafka's jars: `KAFKA_JARS`, or fetched once with Maven into the cache of the project.

    Raises:
        KafkaUnavailableError: No Java, no jars in `KAFKA_JARS`, no Maven, or Maven could not fetch them.
    """
    if shutil.which("java") is None:
        msg = "no java on the PATH (Java 17 or later is needed)"
        raise KafkaUnavailableError(msg)
    if given := os.environ.get("KAFKA_JARS"):
        if not list(Path(given).glob("kafka_2.13-*.jar")):
            msg = f"KAFKA_JARS={given} holds no kafka_2.13-*.jar"
            raise KafkaUnavailableError(msg)
        return Path(given)
    libs = CACHE / KAFKA_VERSION
    if libs.is_dir():
        return libs
    if shutil.which("mvn") is None:
        msg = "no mvn on the PATH to fetch Kafka's jars, and no KAFKA_JARS"
        raise KafkaUnavailableError(msg)
    return _fetch_with_maven(libs)


def _fetch_with_maven(libs: Path) -> Path:
    work = CACHE / f"fetching-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        (work / "pom.xml").write_text(POM)
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]
        command.append("-DoutputDirectory=libs")
        try:
            done = subprocess.run(
                command, cwd=work, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            msg = f"Maven did not fetch Kafka {KAFKA_VERSION} within {FETCH_TIMEOUT_S:g} s"
            raise KafkaUnavailableError(msg) from error
        if done.returncode:
            last = (done.stdout + done.stderr).strip().splitlines()
            msg = f"Maven cannot fetch Kafka {KAFKA_VERSION}: {last[0] if last else 'no output'}"
            raise KafkaUnavailableError(msg)
        # Another session may have been faster: then its jars are as good.
        with contextlib.suppress(OSError):
            (work / "libs").rename(libs)
        return libs
    finally:
        shutil.rmtree(work, ignore_errors=True)


class KafkaServer:
    """One Apache Kafka node with its data in `directory`.

    Args:
        directory: Its data, configuration and log; formatted at the first start, kept over restarts.
        port: Port on 127.0.0.1; 0 = any free one, kept over restarts.
        properties: Lines added to its server.properties, e.g. a second listener.
        listeners: Further listeners beside PLAINTEXT, e.g. `{"SSL": 9093}`; port 0 = any free one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        properties: dict[str, str] | None = None,
        listeners: dict[str, int] | None = None,
    ) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.ports = {"PLAINTEXT": self.port}
        self.ports |= {name: wanted or free_port() for name, wanted in (listeners or {}).items()}
        self.properties = properties or {}
        self._controller_port = free_port()
        self._log = directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def launch(self) -> None:
        """Starts the process and does not wait until it answers; formats the directory the first time."""
        assert self.pid is None, "it runs already"
        libs = fetch_jars()
        config = self.directory / "server.properties"
        if not config.exists():
            self._format(libs, config)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["java", HEAP, "-cp", f"{libs}/*", "kafka.Kafka", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_parent() if sys.platform == "linux" else None,  # noqa: PLW1509
            )

    async def start(self) -> KafkaServer:
        """Starts it (again) and returns when it creates topics."""
        self.launch()
        await self.wait_ready()
        return self

    async def wait_ready(self) -> None:
        """Returns when CreateTopics succeeds; fails with the last lines of its log."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        topic = f"ready-{time.monotonic_ns()}"
        while True:
            try:
                await create_topic(self.bootstrap, topic)
            except (KafkaError, OSError, TimeoutError, AttributeError) as error:
                if self.pid is None or time.monotonic() > deadline:
                    state = "ended" if self.pid is None else "does not answer"
                    msg = f"Kafka on {self.bootstrap} {state} ({error!r}); it said:\n{self.log_tail()}"
                    raise AssertionError(msg) from error
                await asyncio.sleep(0.2)
            else:
                await delete_topic(self.bootstrap, topic)
                return

    def kill(self) -> None:
        """kill -9; returns when the process is gone."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after 20 s."""
        if self.pid is None:
            return
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def log_tail(self, lines: int = 30) -> str:
        if not self._log.exists():
            return "(nothing)"
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def _format(self, libs: Path, config: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        listeners = ",".join(f"{name}://{HOST}:{port}" for name, port in self.ports.items())
        text = PROPERTIES.format(
            controller=self._controller_port, listeners=listeners, data=self.directory / "data"
        )
        text += "".join(f"{key}={value}\n" for key, value in self.properties.items())
        storage_tool = ["java", HEAP, "-cp", f"{libs}/*", "kafka.tools.StorageTool"]
        made = subprocess.run([*storage_tool, "random-uuid"], capture_output=True, text=True, check=True)
        cluster = made.stdout.split()[-1]
        draft = config.with_suffix(".draft")
        draft.write_text(text)
        subprocess.run(
            [*storage_tool, "format", "--standalone", "-t", cluster, "-c", str(draft)],
            capture_output=True,
            check=True,
        )
        draft.rename(config)  # only now: a directory with the file is a formatted one


async def create_topic(bootstrap: str, name: str, partitions: int = 1, **configs: str) -> None:
    """Creates a topic with one replica, returns when the broker lists it; raises what the broker answers."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5_000)
    try:
        await admin.start()
        answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
        for topic, code, *rest in answer.topic_errors:
            if code:
                msg = f"{topic}: error {code} {rest}"
                raise KafkaError(msg)
        async with asyncio.timeout(10):
            while name not in {t["topic"] for t in await admin.describe_topics(None) if t["partitions"]}:
                await asyncio.sleep(0.02)
    finally:
        await admin.close()


async def delete_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5_000)
    try:
        await admin.start()
        await admin.delete_topics([name])
    finally:
        await admin.close()
