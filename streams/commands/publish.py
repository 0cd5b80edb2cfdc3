"""`conversion-monitor publish`: files of events into the topic, keyed by visitor."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from streams.connection import wait_for_broker
from streams.errors import ConfigError, Problem, TopicError
from streams.mapping import Mapper, field_fault
from streams.publisher import MAX_BAD_KEPT, Bad, Pacer, Publisher, Report
from streams.sources import Source, check_headers, latest_time, spooled
from streams.target import Target, find_target, target_options
from streams.topics import TopicAdmin, creation_command
from streams.topology import Topology

#: Seconds to wait for a broker: publishing is done by hand or by a script, not by a service that can wait.
BROKER_TIMEOUT_S = 10.0

_EPILOG = """\b
Files:
  CSV with a header, or JSON lines (one object a line). A column, or field, that is called as
  a field of the event needs no --map. JSON lines that are events already are sent as they are.
  Times may be RFC 3339, epoch seconds or milliseconds, or "YYYY-MM-DD hh:mm:ss UTC".
\b
Exit code:
  0 if every row is in the topic, 1 if one is not, 2 for wrong options.
\b
Examples:
  conversion-monitor publish events.jsonl
  tail -F events.jsonl | conversion-monitor publish -
\b
  # A day of a real shop (REES46, "eCommerce behavior data"), as if it ended now:
  conversion-monitor publish 2019-Oct.csv \\
    --map timestamp=event_time --map event=event_type \\
    --map visitor_id=user_id --map session_id=user_session \\
    --map value=price --const currency=USD \\
    --map properties.brand=brand --map properties.category=category_code \\
    --rename event=view:page_view --rename event=cart:add_to_cart \\
    --event-id --now
"""


class Pairs(click.ParamType):
    """`field=rest`, the field being one of the event's."""

    def __init__(self, shown: str) -> None:
        self.name = shown

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """As it is written."""
        return self.name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The two sides."""
        name, equals, rest = str(value).partition("=")
        if not equals or not name or not rest:
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        if (fault := field_fault(name)) is not None:
            self.fail(fault, param, ctx)
        return name, rest


class Renames(Pairs):
    """`field=theirs:ours`."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The field, and `theirs:ours`."""
        name, rest = super().convert(value, param, ctx)
        theirs, colon, ours = rest.partition(":")
        if not colon or not theirs or not ours:
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        return name, rest


@click.command(name="publish", epilog=_EPILOG)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@target_options
@click.option("--map", "columns", type=Pairs("FIELD=COLUMN"), multiple=True, help="Where a field stands.")
@click.option(
    "--rename",
    "renames",
    type=Renames("FIELD=THEIRS:OURS"),
    multiple=True,
    help="A value that is called otherwise there.",
)
@click.option("--const", "constants", type=Pairs("FIELD=VALUE"), multiple=True, help="A value for all rows.")
@click.option("--format", "file_format", type=click.Choice(["auto", "csv", "jsonl"]), default="auto")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Events a second, at most.")
@click.option(
    "--speedup",
    type=click.FloatRange(0, min_open=True),
    help="Keep the gaps between event times, this many times shorter.",
)
@click.option("--now", is_flag=True, help="Shift event times so that the last is now.")
@click.option("--event-id", "event_id", is_flag=True, help="A stable id from file name and line.")
@click.option("--send-bad", is_flag=True, help="Send a row that cannot be mapped as it is.")
@click.option(
    "--partitions",
    type=click.IntRange(0, 1_024),
    default=4,
    show_default=True,
    help="Of the topic if it does not exist yet; 0 = do not create it.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    files: tuple[str, ...],
    bootstrap: str | None,
    topic: str | None,
    config: Path | None,
    columns: tuple[tuple[str, str], ...],
    renames: tuple[tuple[str, str], ...],
    constants: tuple[tuple[str, str], ...],
    file_format: Literal["auto", "csv", "jsonl"],
    rate: float | None,
    speedup: float | None,
    now: bool,
    event_id: bool,
    send_bad: bool,
    partitions: int,
    as_json: bool,
) -> None:
    """Publish FILEs of events (CSV, JSON lines, - for standard input), keyed by visitor.

    A row that cannot be mapped is reported with its line number and counted; the others are published.
    """
    target = find_target(bootstrap, topic, config)
    mapper = Mapper(
        columns=_once(columns, "--map"),
        renames=_nested(renames),
        constants=_once(constants, "--const"),
        id_prefix="" if event_id else None,
    )
    named = [_source(name, None if file_format == "auto" else file_format) for name in files]
    _check_names(named, event_id)
    check_headers(named, mapper)
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(spooled(s)) for s in named] if now else named
        if now and (latest := latest_time(sources, mapper)) is not None:
            mapper = replace(mapper, shift_ms=int(time.time() * 1000) - latest)
        screen = stack.enter_context(_Screen(sources, quiet=as_json))
        publisher = Publisher(
            target.topic,
            mapper,
            Pacer(rate, speedup),
            send_bad=send_bad,
            on_bad=screen.bad,
            on_progress=screen.progress,
        )
        report = asyncio.run(_publish(target, publisher, sources, partitions, screen))
    _tell(report, target, as_json)
    ctx.exit(0 if report.complete() else 1)


async def _publish(
    target: Target, publisher: Publisher, sources: Sequence[Source], partitions: int, screen: _Screen
) -> Report:
    await wait_for_broker(target.bootstrap, screen.say, BROKER_TIMEOUT_S, **target.client_kwargs)
    async with TopicAdmin(target.bootstrap, target.client_kwargs) as admin:
        if target.topic not in await admin.partitions():
            spec = Topology(target.topic).specs(partitions or 4)[0]
            if partitions == 0:
                msg = f"no topic {target.topic} on {target.bootstrap}"
                raise TopicError(msg, remedy=creation_command(target.bootstrap, spec, 1))
            await admin.create([spec], 1)
            screen.say(f"created topic {target.topic} with {partitions} partitions")
    return await publisher.publish(target.bootstrap, sources, **target.client_kwargs)


class _Screen:
    """What is shown while it runs: bad rows and notes on stderr, a progress bar if that is a terminal."""

    def __init__(self, sources: Sequence[Source], *, quiet: bool) -> None:
        self._quiet = quiet
        self._bad = 0
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        sizes = [s.path.stat().st_size if s.path is not None else None for s in sources]
        total = None if None in sizes else sum(size for size in sizes if size is not None)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("publishing", total=total)

    def __enter__(self) -> _Screen:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._bad > MAX_BAD_KEPT and not self._quiet:
            self.say(f"… and {self._bad - MAX_BAD_KEPT:,} more bad rows")

    def say(self, text: str) -> None:
        """One line on stderr, above the bar."""
        self._console.print(text, markup=False)

    def bad(self, row: Bad) -> None:
        """Reports a bad row; after many of them only counts."""
        self._bad += 1
        if self._bad <= MAX_BAD_KEPT and not self._quiet:
            self.say(f"{row.file}:{row.line}: {row.reason}")

    def progress(self, done: int) -> None:
        """Moves the bar to this many bytes."""
        self._bar.update(self._task, completed=done)


def _tell(report: Report, target: Target, as_json: bool) -> None:
    if as_json:
        where = {"bootstrap": target.bootstrap, "topic": target.topic}
        click.echo(orjson.dumps({**where, **asdict(report)}, option=orjson.OPT_INDENT_2))
        return
    rate = report.published / report.seconds if report.seconds else 0.0
    line = f"{report.published:,} of {report.rows:,} rows published to {target.topic} on {target.bootstrap}"
    click.echo(f"{line} in {report.seconds:.1f} s ({rate:,.0f} a second)")
    if report.bad:
        fate = f", {report.sent_bad:,} of them sent as they are" if report.sent_bad else ", left out"
        click.echo(f"{report.bad:,} could not be mapped{fate}")
    if report.failed:
        click.echo(f"{report.failed:,} were not taken by the broker")


def _once(pairs: Iterable[tuple[str, str]], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            msg = f"{option} {name} is there twice: {found[name]!r} and {value!r}"
            raise click.UsageError(msg)
        found[name] = value
    return found


def _nested(renames: Iterable[tuple[str, str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, rest in renames:
        theirs, _, ours = rest.partition(":")
        found.setdefault(name, {})[theirs] = ours
    return found


def _source(name: str, file_format: Literal["csv", "jsonl"] | None) -> Source:
    return Source(name, None if name == "-" else Path(name), file_format)


def _check_names(sources: Sequence[Source], event_id: bool) -> None:
    """ConfigError where one name stands for two sources."""
    prefixes = [s.id_prefix for s in sources]
    twice = {p for p in prefixes if prefixes.count(p) > 1}
    if twice and (event_id or "stdin" in twice):
        name = sorted(twice)[0]
        reason = f"there are two sources called {name}: their events would get the same ids"
        raise ConfigError(name, (Problem(None, "FILE", reason, "publish them one by one, or rename one"),))
