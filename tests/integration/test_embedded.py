"""The embedded broker: starts as ours, tells what went wrong, leaves nothing behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from streams import embedded as module
from streams.embedded import EmbeddedBroker
from streams.errors import BrokerError, PortError
from tests.worker import wait_until

pytestmark = pytest.mark.embedded

FAKE_HEADER = f"#!{sys.executable}\n"


def gone(pid: int, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def fake_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a Python script in the place of the broker binary."""

    def put(body: str) -> None:
        path = tmp_path / "fake-broker"
        path.write_text(FAKE_HEADER + body)
        path.chmod(0o755)
        monkeypatch.setenv("CALF_TANSU_BIN", str(path))

    return put


@pytest.mark.parametrize("by_pipe", [False, True])
async def test_stop_leaves_no_process_and_no_port(by_pipe):
    broker = EmbeddedBroker(by_pipe=by_pipe)
    async with broker:
        assert broker.bootstrap == f"127.0.0.1:{broker.port}"
        pids = [broker.pid, *(c.pid for c in psutil.Process(broker.pid).children(recursive=True))]
        assert len(pids) == 1 + by_pipe
        assert listens(broker.port)
    assert all(gone(pid) for pid in pids)
    assert not listens(broker.port)
    assert broker.pid is None


async def test_starts_again_after_stop_on_the_same_port():
    broker = EmbeddedBroker()
    await broker.start()
    port = broker.port
    await broker.stop()
    await broker.start()
    assert broker.port == port
    await broker.stop()
    await broker.stop()  # again: nothing


async def test_second_start_of_a_running_broker_is_refused():
    async with EmbeddedBroker() as broker:
        with pytest.raises(BrokerError, match="runs already"):
            await broker.start()
        assert listens(broker.port)


async def test_port_in_use_names_port_and_remedy():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=rf"port {port} of 127\.0\.0\.1 is in use") as caught:
            await EmbeddedBroker(port).start()
    assert "choose another" in caught.value.remedy


async def test_port_taken_between_look_and_start_is_a_port_error(monkeypatch):
    """The binary itself then ends with exit code 0, and another broker answers on the port."""
    async with EmbeddedBroker() as other:
        monkeypatch.setattr(module, "_require_free", lambda port: None)
        late = EmbeddedBroker(other.port)
        with pytest.raises(PortError, match=str(other.port)):
            await late.start()
        assert late.pid is None
        assert other.pid is not None


async def test_any_port_goes_on_to_the_next_when_one_is_taken(monkeypatch):
    async with EmbeddedBroker() as other:
        ports = iter([other.port, module.free_port()])
        monkeypatch.setattr(module, "free_port", lambda: next(ports))
        async with EmbeddedBroker() as broker:
            assert broker.port != other.port


async def test_port_out_of_reach_is_a_port_error():
    with pytest.raises(PortError, match="port 70000"):
        await EmbeddedBroker(70_000).start()


async def test_death_at_start_shows_exit_code_and_last_lines(fake_binary):
    fake_binary("print('\\x1b[31mcannot find my shoes\\x1b[0m', flush=True)\nraise SystemExit(3)\n")
    broker = EmbeddedBroker()
    with pytest.raises(BrokerError, match=r"exit code 3(?s:.*)\n    cannot find my shoes"):
        await broker.start()
    assert broker.pid is None


async def test_silence_at_start_ends_in_time_and_kills_the_child(fake_binary, monkeypatch):
    fake_binary("import time\nprint('thinking', flush=True)\ntime.sleep(60)\n")
    monkeypatch.setattr(module, "READY_TIMEOUT_S", 0.5)
    broker = EmbeddedBroker()
    with pytest.raises(BrokerError, match=r"not ready within 0\.5 s"):
        await broker.start()
    assert broker.pid is None


async def test_a_broker_that_ignores_sigterm_is_killed(monkeypatch):
    monkeypatch.setattr(module, "STOP_TIMEOUT_S", 0.3)
    broker = await EmbeddedBroker().start()
    os.kill(broker.pid, signal.SIGSTOP)  # a stopped process leaves SIGTERM pending
    pid = broker.pid
    await broker.stop()
    assert gone(pid)
    assert not listens(broker.port)


async def test_wrong_end_offset_fails_the_self_test(monkeypatch):
    async def wrong(bootstrap, partitions, **_):
        return dict.fromkeys(partitions, 1)

    monkeypatch.setattr(module, "end_offsets", wrong)
    with pytest.raises(BrokerError, match="500 records sent, end offset 1"):
        await EmbeddedBroker().start()


async def test_missing_binary_says_what_to_do(monkeypatch):
    monkeypatch.setenv("CALF_TANSU_BIN", "/nowhere/tansu")
    with pytest.raises(BrokerError, match="CALF_TANSU_BIN"):
        await EmbeddedBroker().start()


@pytest.mark.parametrize("by_pipe", [False, True])
def test_dies_with_its_parent_even_by_kill_9(by_pipe):
    script = (
        "import asyncio\n"
        "from streams.embedded import EmbeddedBroker\n"
        "async def main():\n"
        f"    broker = await EmbeddedBroker(by_pipe={by_pipe}).start()\n"
        "    print(broker.pid, broker.port, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        pid, port = map(int, parent.stdout.readline().split())
        pids = [pid, *(c.pid for c in psutil.Process(pid).children(recursive=True))]
        assert len(pids) == 1 + by_pipe
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert all(gone(pid) for pid in pids)
    # A killed process is a zombie before its last thread has gone, and with it its sockets.
    wait_until(lambda: not listens(port), 10, "nobody listens on the broker's port")


async def test_wait_returns_when_the_broker_ends():
    async with EmbeddedBroker() as broker:
        waiting = asyncio.create_task(broker.wait())
        os.kill(broker.pid, signal.SIGKILL)
        assert await asyncio.wait_for(waiting, 5) == -signal.SIGKILL
