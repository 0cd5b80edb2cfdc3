"""`conversion-monitor top` as people run it: in a pseudo-terminal, in a pipe, against real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from fcntl import ioctl
from pathlib import Path

import aiohttp
import orjson
import pytest
from aiohttp import web

from streams.web import create_web, serve
from tests.shop_state import FakeState, Shop

NOW = 1_700_057_700.0
SHOP = Shop(NOW - 4_000, broken_at=NOW + 60, alert_after_s=0)
TOP = (sys.executable, "-m", "streams.cli", "top")


class Served:
    def __init__(self) -> None:
        self.state = FakeState(SHOP.at(NOW))
        self.port = 0
        self.runner: web.AppRunner | None = None

    async def start(self) -> None:
        self.runner = await serve(create_web(self.state, tick_s=0.02), "127.0.0.1", self.port)
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        if self.runner:
            await self.runner.cleanup()
            self.runner = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
async def worker() -> AsyncIterator[Served]:
    served = Served()
    await served.start()
    yield served
    await served.stop()


async def run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *TOP, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def _as_a_shell_does(terminal: int) -> None:
    """Make Ctrl-C a signal, and one that is heeded: who runs tests in the background of a script has it ignored."""
    ioctl(terminal, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A pseudo-terminal of 110 × 40 characters with `top` in it."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._raw = bytearray()

    async def __aenter__(self) -> Terminal:
        self._ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 110, 0, 0))
        self.process = await asyncio.create_subprocess_exec(
            *TOP,
            *self._arguments,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: _as_a_shell_does(theirs),
        )
        os.close(theirs)
        os.set_blocking(self._ours, False)
        asyncio.get_running_loop().add_reader(self._ours, self._read)
        return self

    async def __aexit__(self, *error: object) -> None:
        asyncio.get_running_loop().remove_reader(self._ours)
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        os.close(self._ours)

    def _read(self) -> None:
        try:
            self._raw += os.read(self._ours, 65_536)
        except BlockingIOError:  # woken for nothing; who stops reading here lets `top` wait for ever
            return
        except OSError:  # its end is closed
            asyncio.get_running_loop().remove_reader(self._ours)

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._raw.decode(errors="replace"))

    async def until(self, words: str) -> None:
        """Waits for words to be drawn, and forgets everything drawn before."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                while words not in self.text:
                    await asyncio.sleep(0.02)
        assert words in self.text
        self._raw.clear()

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    async def ended(self) -> int:
        try:
            async with asyncio.timeout(10):
                return await self.process.wait()
        except TimeoutError:
            waits = Path(f"/proc/{self.process.pid}/wchan")
            where = waits.read_text() if waits.exists() else "?"
            pytest.fail(f"top has not ended, it waits in {where}; drawn since: {self.text[-500:]!r}")


async def test_follows_the_shop_and_takes_keys(worker: Served) -> None:
    async with Terminal("--url", worker.url, "--every", "0.2") as terminal:
        await terminal.until("All is normal")
        worker.state.current = SHOP.at(NOW + 360)
        await terminal.until("Purchase rate fell")
        terminal.type("w")
        await terminal.until("last 1h")
        terminal.type("gg")
        await terminal.until("Add to cart by segment")
        terminal.type("q")
        assert await terminal.ended() == 0


async def test_ctrl_c_ends_it_well_and_gives_the_terminal_back(worker: Served) -> None:
    async with Terminal("--url", worker.url) as terminal:
        await terminal.until("All is normal")
        terminal.type("\x03")
        assert await terminal.ended() == 0
        await asyncio.sleep(0.05)
        assert "Traceback" not in terminal.text


async def test_goes_on_when_the_worker_comes_back(worker: Served) -> None:
    async with Terminal("--url", worker.url, "--every", "0.2") as terminal:
        await terminal.until("All is normal")
        await worker.stop()
        await terminal.until("trying again")
        worker.state.current = SHOP.at(NOW + 360)
        await worker.start()
        await terminal.until("Purchase rate fell")


async def test_waits_while_nobody_holds_the_totals(worker: Served) -> None:
    worker.state.current = None
    async with Terminal("--url", worker.url, "--every", "0.2") as terminal:
        await terminal.until("no worker holds the totals yet")
        worker.state.current = SHOP.at(NOW)
        await terminal.until("All is normal")


async def test_in_a_pipe_it_is_plain_and_ends(worker: Served) -> None:
    code, out, err = await run("--url", worker.url)
    assert (code, err) == (0, "")
    assert "All is normal" in out
    assert "\x1b" not in out


async def test_once_as_json_is_the_answer_of_the_worker(worker: Served) -> None:
    code, out, _ = await run("--url", worker.url, "--once", "--json", "--window", "1h")
    assert code == 0
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{worker.url}/api/v1/live?window=1h") as response,
    ):
        assert orjson.loads(out) == await response.json()


async def test_asks_the_worker_that_holds_the_totals(worker: Served) -> None:
    other = Served()
    await other.start()
    other.state.current, other.state.url = None, worker.url
    try:
        code, out, _ = await run("--url", other.url, "--once")
    finally:
        await other.stop()
    assert code == 0
    assert "All is normal" in out


async def test_no_worker_there_names_address_and_remedy(worker: Served) -> None:
    await worker.stop()
    code, _, err = await run("--url", worker.url, "--once")
    assert code == 1
    assert worker.url in err
    assert "--url" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--window", "7m"), "1m, 5m, 1h, 24h"), (("--url", "worker:8000"), "http://127.0.0.1:8000")],
)
async def test_wrong_usage_is_explained(worker: Served, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = await run("--url", worker.url, "--once", *arguments)
    assert code == 2
    assert words in " ".join(err.split())


async def test_what_is_no_monitor_is_said_to_be_none(worker: Served) -> None:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/{path:.*}", hello)
    runner = await serve(app, "127.0.0.1", 0)
    code, _, err = await run("--url", f"http://127.0.0.1:{runner.addresses[0][1]}", "--once")
    await runner.cleanup()
    assert code == 1
    assert "is not a conversion-monitor" in err
