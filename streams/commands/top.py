"""`conversion-monitor top`: the live page in a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import click
import orjson
from rich.console import Console
from rich.live import Live

from streams.errors import MonitorError
from streams.terminal_view import draw

#: Seconds the worker may take to answer.
TIMEOUT_S = 5.0

#: Seconds between two looks at the last hour.
HISTORY_S = 15.0

_EPILOG = """\b
Keys: w next window, g next goal, q quits.

\b
Examples:
  conversion-monitor top
  conversion-monitor top --url http://worker-1:8000 --window 1h
  conversion-monitor top --once --json | jq '.goals[] | {name, rate, expected}'
"""


class NoNumbersError(MonitorError):
    """The worker answers, but nobody holds the totals yet."""


@dataclass(slots=True)
class _Screen:
    """What the user chose and what was seen last."""

    window: str | None
    goal: str | None = None
    view: dict[str, Any] | None = None
    history: dict[str, Any] | None = None
    history_at: float = 0.0
    note: str = ""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    quit: bool = False

    def press(self, keys: str) -> None:
        """What keys do: q quits, w takes the next window, g the next goal."""
        for key in keys:
            if key == "q":
                self.quit = True
            elif key == "w" and self.view:
                self.window = _next(self.view["windows"], self.window or self.view["window"])
                self.history = None
            elif key == "g" and self.view:
                self.goal = _next([goal["name"] for goal in self.view["goals"]], self.goal)
        self.wake.set()


@click.command(name="top", epilog=_EPILOG)
@click.option(
    "--url",
    default="http://127.0.0.1:8000",
    show_default=True,
    help="Any worker; it knows who has the totals.",
)
@click.option("--window", help="Such as 5m; one of the config's.  [default: the one nearest to 5m]")
@click.option(
    "--every", default=1.0, show_default=True, type=click.FloatRange(0.2), help="Seconds between looks."
)
@click.option("--once", is_flag=True, help="Show it once and end; also when the output is not a terminal.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per look, as `/api/v1/live` answers it.")
def command(url: str, window: str | None, every: float, once: bool, as_json: bool) -> None:
    """Live rates and alerts of a running monitor in the terminal: what converts, whether that is normal."""
    if not url.startswith(("http://", "https://")):
        message = f"{url!r} is no http address; write it like http://127.0.0.1:8000"
        raise click.BadParameter(message, param_hint="--url")
    console = Console()
    screen = _Screen(window)
    with contextlib.suppress(KeyboardInterrupt):
        if as_json:
            asyncio.run(_lines(url.rstrip("/"), screen, every, once=once))
        elif once or not console.is_terminal:
            asyncio.run(_once(url.rstrip("/"), screen, console))
        else:
            asyncio.run(_follow(url.rstrip("/"), screen, every, console))


async def _lines(url: str, screen: _Screen, every: float, *, once: bool) -> None:
    async with _session() as session:
        while True:
            view = await _ask(session, url, "live", screen.window)
            sys.stdout.buffer.write(orjson.dumps(view) + b"\n")
            sys.stdout.flush()
            if once:
                return
            await asyncio.sleep(every)


async def _once(url: str, screen: _Screen, console: Console) -> None:
    async with _session() as session:
        await _look(session, url, screen)
    assert screen.view is not None
    console.print(draw(screen.view, history=screen.history, width=console.width, height=200))


async def _follow(url: str, screen: _Screen, every: float, console: Console) -> None:
    async with _session() as session:
        try:
            await _look(session, url, screen)
        except NoNumbersError as error:
            screen.note = error.message
        with (
            _keys(screen),
            Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live,
        ):
            while not screen.quit:
                live.update(_drawn(screen, console), refresh=True)
                screen.wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(every):
                        await screen.wake.wait()
                try:
                    await _look(session, url, screen)
                    screen.note = ""
                except MonitorError as error:
                    screen.note = f"{error.message}; trying again"


def _drawn(screen: _Screen, console: Console) -> Any:
    if screen.view is None:
        return screen.note
    return draw(
        screen.view,
        goal=screen.goal,
        history=screen.history,
        width=console.width,
        height=console.height,
        note=screen.note,
    )


async def _look(session: aiohttp.ClientSession, url: str, screen: _Screen) -> None:
    screen.view = await _ask(session, url, "live", screen.window)
    now = asyncio.get_running_loop().time()
    if screen.history is None or now - screen.history_at > HISTORY_S:
        screen.history = await _ask(session, url, "history", screen.window)
        screen.history_at = now


async def _ask(session: aiohttp.ClientSession, url: str, what: str, window: str | None) -> dict[str, Any]:
    params = {"window": window} if window else {}
    try:
        async with session.get(f"{url}/api/v1/{what}", params=params) as response:
            body = await response.read()
            answer = orjson.loads(body)
            if response.status == 200:
                return dict(answer)
            error = answer["error"]
    except (aiohttp.ClientError, TimeoutError) as problem:
        message = f"no worker answers at {url}: {problem or 'no answer in time'}"
        raise MonitorError(
            message, remedy="start one (`conversion-monitor demo` or `run`), or set --url"
        ) from problem
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as problem:
        message = f"what answers at {url} is not a conversion-monitor"
        raise MonitorError(message, remedy="set --url to a worker, e.g. http://127.0.0.1:8000") from problem
    if "known" in answer:
        message = f"{error}; the worker has {', '.join(answer['known'])}"
        raise click.BadParameter(message, param_hint="--window")
    raise NoNumbersError(error)


@contextlib.asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
        yield session


@contextlib.contextmanager
def _keys(screen: _Screen) -> Iterator[None]:
    """Hand single keys to the screen while inside; nothing where there is no keyboard."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
        return
    import termios  # noqa: PLC0415 - not there on Windows
    import tty  # noqa: PLC0415

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, lambda: screen.press(os.read(descriptor, 64).decode(errors="ignore")))
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _next(names: list[str], current: str | None) -> str:
    at = names.index(current) + 1 if current in names else 0
    return names[at % len(names)]
