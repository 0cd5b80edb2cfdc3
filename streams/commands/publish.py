"""`conversion-monitor publish`: files of events into the topic, keyed by visitor."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click
import orjson

from streams.connection import wait_for_broker
from streams.errors import ConfigError, Problem, TopicError
from streams.event_files import FileFormat, Screen, mapper_of, mapping_options, source_of
from streams.publisher import Pacer, Publisher, Report
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


@click.command(name="publish", epilog=_EPILOG)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@target_options
@mapping_options
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
    file_format: FileFormat,
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
    mapper = replace(mapper_of(columns, renames, constants), id_prefix="" if event_id else None)
    named = [source_of(name, file_format) for name in files]
    _check_names(named, event_id)
    check_headers(named, mapper)
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(spooled(s)) for s in named] if now else named
        if now and (latest := latest_time(sources, mapper)) is not None:
            mapper = replace(mapper, shift_ms=int(time.time() * 1000) - latest)
        screen = stack.enter_context(Screen(sources, "publishing", quiet=as_json))
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
    target: Target, publisher: Publisher, sources: Sequence[Source], partitions: int, screen: Screen
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


def _check_names(sources: Sequence[Source], event_id: bool) -> None:
    """ConfigError where one name stands for two sources."""
    prefixes = [s.id_prefix for s in sources]
    twice = {p for p in prefixes if prefixes.count(p) > 1}
    if twice and (event_id or "stdin" in twice):
        name = sorted(twice)[0]
        reason = f"there are two sources called {name}: their events would get the same ids"
        raise ConfigError(name, (Problem(None, "FILE", reason, "publish them one by one, or rename one"),))
