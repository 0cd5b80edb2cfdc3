"""A worker as its users see it: a process, an HTTP port, a consumer group. Imports nothing of the product."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests import oracle

COMMAND = str(Path(sys.executable).parent / "conversion-monitor")
START_S = 60.0
#: Environment of a worker: nothing else of ours may change what it does.
KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def wait_until(what: Callable[[], Any], timeout_s: float, why: str, every_s: float = 0.1) -> Any:
    """Returns what `what` says once that is true; fails with `why` and what it said last."""
    deadline = time.monotonic() + timeout_s
    while True:
        said = what()
        if said:
            return said
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {why}; last seen {said!r}"
        time.sleep(every_s)


class Worker:
    """`conversion-monitor run` as a process of its own; it may be started again after its end.

    Args:
        directory: For its config and its log.
        config: The config file's content.
        name: Tells several workers of one directory apart.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any], name: str = "worker") -> None:
        self.port = free_port()
        self.config_file = directory / f"{name}.yaml"
        self.log_file = directory / f"{name}.log"
        http = {"host": "127.0.0.1", "port": self.port}
        self.config_file.write_text(json.dumps({"http": http, "data_dir": str(directory / name), **config}))
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """kill -9 if it still runs."""
        if self.running:
            self.kill()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> Self:
        assert not self.running
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [COMMAND, "run", "--config", str(self.config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if name in KEPT},
                start_new_session=True,
            )
        return self

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pause(self) -> None:
        """SIGSTOP: a worker that hangs, and wakes up as a zombie."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def terminate(self, timeout_s: float = 15.0) -> tuple[int, float]:
        """SIGTERM; exit code and seconds until the end."""
        assert self.process is not None
        began = time.monotonic()
        self.process.terminate()
        code = self.process.wait(timeout_s)
        return code, time.monotonic() - began

    def wait_for_end(self, timeout_s: float) -> int:
        """The exit code of a worker that ends by itself."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def wait_ready(self, timeout_s: float = START_S) -> Self:
        wait_until(
            lambda: self.ready() or self._must_run(), timeout_s, f"{self.log_tail()}\n/readyz says yes"
        )
        return self

    def _must_run(self) -> bool:
        assert self.running, f"the worker has ended:\n{self.log_tail()}"
        return False

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of an answer after redirects; status 0 if nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def rates(self) -> list[Any] | None:
        """The rows of /api/v1/rates like those of the oracle; None while there is no answer with rows."""
        status, body = self.get("/api/v1/rates")
        return rows_of(json.loads(body)) if status == 200 else None

    def wait_for_rates(self, truth: Mapping[Any, Any], timeout_s: float = 60.0) -> None:
        """Waits until /api/v1/rates tells the truth, a table of the oracle; else says where it differs."""

        def told() -> bool:
            self._must_run()
            return oracle.table(self.rates() or []) == truth

        try:
            wait_until(told, timeout_s, "the rates are exact", every_s=0.2)
        except AssertionError as error:
            differences = oracle.differences(oracle.table(self.rates() or []), truth)
            msg = "\n".join([str(error), *differences[:40], self.log_tail(15)])
            raise AssertionError(msg) from None

    def metric(self, name: str) -> float:
        """The sum of all series of a metric."""
        lines = self.get("/metrics")[1].decode().splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name
        )

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log().splitlines()[-lines:])


def rows_of(answer: Mapping[str, Any]) -> list[Any]:
    """The rows of an answer of /api/v1/rates, to be read like those of the oracle."""
    return [
        SimpleNamespace(
            **row
            | {
                "goals": {
                    name: SimpleNamespace(
                        **goal | {"revenue": {c: Decimal(a) for c, a in goal["revenue"].items()}}
                    )
                    for name, goal in row["goals"].items()
                }
            }
        )
        for row in answer["rows"]
    ]


def run(
    *arguments: str, timeout_s: float = 120.0, stdin: bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """A command of `conversion-monitor` that ends by itself."""
    done = subprocess.run(
        [COMMAND, *arguments], input=stdin, capture_output=True, timeout=timeout_s, check=False
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


# --- what the broker knows ----------------------------------------------------------------------------


def committed(bootstrap: str, group: str, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Committed offset of each partition, 0 where there is none."""
    return asyncio.run(_committed(bootstrap, group, topic, list(partitions)))


async def _committed(bootstrap: str, group: str, topic: str, partitions: list[int]) -> dict[int, int]:
    # A consumer that never joins the group: the embedded broker answers an admin's question wrongly.
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in partitions])
        return {p: await consumer.committed(TopicPartition(topic, p)) or 0 for p in partitions}
    finally:
        await consumer.stop()


def read_all(bootstrap: str, topic: str, counts: Mapping[int, int] | int) -> list[Any]:
    """The first messages of a topic: as many as given per partition, or of partition 0."""
    wanted = {0: counts} if isinstance(counts, int) else dict(counts)
    return asyncio.run(_read_all(bootstrap, topic, wanted))


async def _read_all(bootstrap: str, topic: str, wanted: Mapping[int, int]) -> list[Any]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=16 << 20,
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in wanted])
        found: list[Any] = []
        quiet = 0
        while len(found) < sum(wanted.values()) and quiet < 20:
            records = [r for rs in (await consumer.getmany(timeout_ms=500)).values() for r in rs]
            quiet = 0 if records else quiet + 1
            found += records
        return found
    finally:
        await consumer.stop()


def read_to_end(bootstrap: str, topic: str, partition: int, first: int = 0) -> list[Any]:
    """What stands in a partition now, from an offset on; at the embedded broker a few of the latest may be missing."""
    return asyncio.run(_read_to_end(bootstrap, TopicPartition(topic, partition), first))


async def _read_to_end(bootstrap: str, tp: TopicPartition, first: int) -> list[Any]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        if first:
            consumer.seek(tp, first)
        found: list[Any] = []
        while await consumer.position(tp) < end:
            found += [r for rs in (await consumer.getmany(timeout_ms=500)).values() for r in rs]
        return found
    finally:
        await consumer.stop()


def wait_until_committed(
    bootstrap: str,
    group: str,
    topic: str,
    ends: Mapping[int, int],
    timeout_s: float,
    workers: Sequence[Worker] = (),
) -> None:
    """Waits until the committed offset of every partition is its end."""

    def now() -> dict[int, int]:
        ended = next((worker for worker in workers if not worker.running), None)
        assert ended is None, f"a worker has ended:\n{ended.log_tail()}"
        return committed(bootstrap, group, topic, ends)

    try:
        wait_until(lambda: now() == dict(ends), timeout_s, "committed offsets reach the ends", every_s=0.5)
    except AssertionError as error:
        logs = "\n".join(worker.log_tail(15) for worker in workers)
        reached = committed(bootstrap, group, topic, ends)
        msg = f"committed {reached} of {dict(ends)}: {error}\n{logs}"
        raise AssertionError(msg) from error
