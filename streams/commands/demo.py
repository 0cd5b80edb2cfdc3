"""`conversion-monitor demo`: one command, nothing to install beside it."""

from __future__ import annotations

import asyncio
import time

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from monitor.snapshot import Row, Snapshot
from streams.demo import Demo, Script, running_demo
from streams.errors import MonitorError
from streams.logs import set_up_logs
from streams.runner import exit_at_once, stop_on_signals

#: The window that the terminal shows: short enough to see the outage, long enough to be calm.
_WINDOW = "5m"


_EPILOG = """\b
Examples:
  conversion-monitor demo
  conversion-monitor demo --port 9000 --breaks-after 60 --duration 300
"""


@click.command("demo", epilog=_EPILOG)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="HTTP port.  [default: 8000, or the next free one]"
)
@click.option(
    "--rate", default=Script.rate, show_default=True, type=click.FloatRange(1, 2000), help="Events a second."
)
@click.option(
    "--breaks-after", default=Script.breaks_s, show_default=True, help="Seconds until mobile checkout breaks."
)
@click.option(
    "--mended-after", default=Script.mended_s, show_default=True, help="Seconds until it works again."
)
@click.option("--duration", type=click.FloatRange(1), help="Seconds until the demo ends.  [default: Ctrl-C]")
@click.option("--seed", default=Script.seed, show_default=True, help="Of all that is random.")
def command(
    port: int | None, rate: float, breaks_after: float, mended_after: float, duration: float | None, seed: int
) -> None:
    """Embedded broker, worker and lifelike traffic; after two minutes the mobile checkout breaks.

    Ctrl-C ends it and leaves nothing behind. The broker keeps its data in memory and is not for production.
    """
    set_up_logs(level="warning")
    code = 0
    try:
        asyncio.run(_demo(Script(rate, breaks_after, mended_after, seed), port, duration))
    except MonitorError as error:
        click.secho(f"error: {error}", fg="red", err=True)
        code = error.exit_code
    exit_at_once(code)


async def _demo(script: Script, port: int | None, duration: float | None) -> None:
    console = Console(highlight=False)
    stop = asyncio.Event()
    stop_on_signals(stop)
    console.print("starting the embedded broker (in memory, loopback only) and a worker …")
    async with running_demo(script, port, stop) as demo:
        for line in _where(demo):
            console.print(line)
        ends = time.time() + duration if duration is not None else None
        if console.is_terminal:
            with Live(console=console, refresh_per_second=4, transient=False) as live:
                while not await _over(stop, ends, 0.5):
                    live.update(_picture(demo, script))
        else:
            while not await _over(stop, ends, 2.0):
                console.print(_line(demo, script), soft_wrap=True)
        console.print("stopping …")
    console.print("stopped; nothing is left running")


async def _over(stop: asyncio.Event, ends: float | None, seconds: float) -> bool:
    """Wait that long; whether the demo is over."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
    return stop.is_set() or (ends is not None and time.time() >= ends)


def _where(demo: Demo) -> list[str]:
    return [
        f"  live page   {demo.url}",
        f"  metrics     {demo.url}metrics",
        f"  rates       {demo.url}api/v1/rates",
        f"  Kafka       {demo.bootstrap}   topic clickstream",
        "  Ctrl-C ends it",
        "",
    ]


def _phase(demo: Demo, script: Script) -> tuple[str, str]:
    """What is happening, and its colour."""
    elapsed = time.time() - demo.began
    if elapsed < script.breaks_s:
        return f"all is well; the mobile checkout breaks in {script.breaks_s - elapsed:.0f} s", "green"
    if elapsed < script.mended_s:
        return f"the mobile checkout is broken, for {elapsed - script.breaks_s:.0f} s now", "red"
    return f"the mobile checkout works again, for {elapsed - script.mended_s:.0f} s now", "green"


def _rows(snapshot: Snapshot | None) -> list[Row]:
    """The whole and the devices, in the window that is shown."""
    if snapshot is None:
        return []
    return [r for r in snapshot.rows if r.window == _WINDOW and r.dimension in ("all", "device")]


def _rate(row: Row, goal: str) -> str:
    return "–" if not row.visitors else f"{row.goals[goal].converters / row.visitors:6.2%}"


def _picture(demo: Demo, script: Script) -> Group:
    pipeline = demo.app.pipeline
    goals = [g.name for g in pipeline.rules.goals]
    table = Table(title=f"last {_WINDOW}", title_justify="left", box=None, pad_edge=False, padding=(0, 2))
    table.add_column("device")
    table.add_column("visitors", justify="right")
    for goal in goals:
        table.add_column(goal, justify="right")
    table.add_column("orders", justify="right")
    table.add_column("revenue", justify="right")
    for row in _rows(pipeline.snapshot()):
        bought = row.goals["purchase"]
        revenue = "  ".join(
            f"{amount:,.2f} {currency}" for currency, amount in sorted(bought.revenue.items()) if amount
        )
        table.add_row(
            Text(row.value, style="bold" if row.dimension == "all" else ""),
            f"{row.visitors:,}",
            *(_rate(row, goal) for goal in goals),
            f"{bought.conversions:,}",
            revenue,
        )
    text, colour = _phase(demo, script)
    counted = f"{pipeline.counters.events:,} events counted of {demo.sent:,} published"
    return Group(table, Text(""), Text(text, style=colour), Text(counted, style="dim"))


def _line(demo: Demo, script: Script) -> str:
    pipeline = demo.app.pipeline
    parts = [
        f"{row.value} {row.visitors} visitors {_rate(row, 'purchase').strip()}"
        for row in _rows(pipeline.snapshot())
    ]
    return f"{time.strftime('%H:%M:%S')}  purchase rate, last {_WINDOW}: {'; '.join(parts)}  ({_phase(demo, script)[0]})"
