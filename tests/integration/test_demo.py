"""`conversion-monitor demo` as its user runs it: it shows rates soon, ends cleanly and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker import COMMAND, KEPT, free_port, wait_until

#: Until it shows a rate, seconds; 10 are aimed at, CI machines are slow.
SHOWS_S = 30


class DemoRun:
    """The demo in a process group of its own."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.port = free_port()
        self.output = directory / "demo.log"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [COMMAND, "demo", "--port", str(self.port), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if name in KEPT},
                start_new_session=True,
            )

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def shows_a_rate(self) -> bool:
        assert self.process.poll() is None, self.said()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return False
        found = re.search(r'^conversion_rate_ratio\{.*goal="purchase".*\} (\S+)$', text, re.MULTILINE)
        return found is not None and 0 < float(found[1]) < 1

    def left(self) -> list[str]:
        """Command lines of processes of its session that still run."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                session = int((entry / "stat").read_text().rpartition(")")[2].split()[3])
                if session == self.process.pid:
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except (OSError, ValueError):
                continue
        return found


@pytest.fixture
def demo(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[DemoRun]:
    run = DemoRun(tmp_path, *getattr(request, "param", ()))
    yield run
    if run.process.poll() is None:
        os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.timeout(120)
def test_ctrl_c_ends_the_demo_and_leaves_no_process_and_no_port(demo: DemoRun) -> None:
    began = time.monotonic()
    wait_until(demo.shows_a_rate, SHOWS_S, "the demo shows a rate")
    print(f"a rate after {time.monotonic() - began:.1f} s")
    broker = re.search(r"Kafka\s+127\.0\.0\.1:(\d+)", demo.said())
    assert broker is not None, demo.said()
    assert answers(int(broker[1]))
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(20) == 0, demo.said()
    assert demo.said().rstrip().endswith("nothing is left running")
    assert demo.left() == []
    assert not answers(demo.port)
    assert not answers(int(broker[1]))


@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.timeout(120)
@pytest.mark.parametrize("demo", [("--duration", "12")], indirect=True)
def test_the_demo_ends_by_itself(demo: DemoRun) -> None:
    wait_until(lambda: demo.process.poll() is not None, 60, "the demo ends by itself")
    assert demo.process.returncode == 0, demo.said()
    assert demo.said().rstrip().endswith("nothing is left running")
    assert demo.left() == []
