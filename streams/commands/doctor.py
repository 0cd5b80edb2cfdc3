"""`conversion-monitor doctor`: is everything around the workers as it must be?"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.diagnosis import Finding
from streams.doctor import Subject, examine
from streams.target import Target, find_target, target_options
from streams.topology import DEFAULT_GROUP, Topology

_EPILOG = """\b
Exit code: 0 if nothing is wrong, 1 if something is, 2 for a config that cannot be used.
\b
Examples:
  conversion-monitor doctor --config monitor.yaml
  conversion-monitor doctor --bootstrap kafka:9092 --topic clickstream --json
"""

_COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}


@click.command(name="doctor", epilog=_EPILOG)
@target_options
@click.option("--group", help=f"Consumer group, where no config names it.  [default: {DEFAULT_GROUP}]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    bootstrap: str | None,
    topic: str | None,
    config: Path | None,
    group: str | None,
    as_json: bool,
) -> None:
    """Check brokers, topics, keys, lag and clocks, and say what to do about what is wrong.

    It only reads: it joins no group, commits nothing, creates nothing.
    """
    target = find_target(bootstrap, topic, config)
    findings = asyncio.run(examine(_subject(target, group), time.time()))
    good = all(finding.status != "wrong" for finding in findings)
    if as_json:
        told = {"ok": good, "findings": [asdict(finding) for finding in findings]}
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))
    elif sys.stdout.isatty():
        Console().print(_table(findings))
    else:
        for finding in findings:
            click.echo(f"{finding.status:5}  {finding.check:8}  {finding.detail}")
            for line in finding.remedy.splitlines():
                click.echo(f"{'':17}→ {line.strip()}")
    ctx.exit(0 if good else 1)


def _subject(target: Target, group: str | None) -> Subject:
    settings = target.settings
    if settings is None:
        return Subject(
            target.bootstrap,
            Topology(target.topic, group or DEFAULT_GROUP),
            client_kwargs=target.client_kwargs,
        )
    kafka = settings.kafka
    return Subject(
        target.bootstrap,
        Topology(target.topic, group or kafka.group, kafka.keyed_by_visitor),
        settings.rules,
        kafka.partitions,
        kafka.create_topics,
        target.client_kwargs,
    )


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("check")
    table.add_column("what was seen, and what to do", overflow="fold")
    for finding in findings:
        text = Text(finding.detail)
        if finding.remedy:
            text.append(f"\n→ {finding.remedy}", style="dim")
        table.add_row(Text(finding.status, style=_COLOURS[finding.status]), finding.check, text)
    return table
