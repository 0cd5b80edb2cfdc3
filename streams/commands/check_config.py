"""`conversion-monitor check-config`: every error of a config with its line, or what it sets up."""

from __future__ import annotations

import os
from pathlib import Path

import click
import orjson

from monitor.windows import format_duration
from streams.errors import ConfigError
from streams.settings import Settings, load_settings

_EPILOG = """\b
Examples:
  conversion-monitor check-config monitor.yaml
  conversion-monitor check-config monitor.yaml --json | jq .problems
"""


@click.command(name="check-config", epilog=_EPILOG)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.pass_context
def command(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Check a config FILE: every error at once, with line, reason and remedy.

    A good file is summed up: windows with their panes, goals with what they match, dimensions. Exit code 0 if
    it can be used, 2 if not.
    """
    try:
        settings = load_settings(file, os.environ)
    except ConfigError as error:
        if as_json:
            click.echo(orjson.dumps(_problems_json(error), option=orjson.OPT_INDENT_2))
        else:
            _print_problems(error)
        ctx.exit(error.exit_code)
    if as_json:
        click.echo(orjson.dumps(_summary_json(str(file), settings), option=orjson.OPT_INDENT_2))
    else:
        _print_summary(str(file), settings)


def notes(settings: Settings) -> list[str]:
    """What is allowed and still worth a thought before production."""
    found = []
    if not settings.privacy.salt:
        found.append("privacy.salt is empty: hashes of visitor ids can be guessed; set it to a secret")
    if settings.http.host in ("0.0.0.0", "::") and settings.http.public_url is None:  # noqa: S104 - compared only
        found.append("http.public_url is not set: other workers cannot redirect to this one")
    if settings.rules.clock == "event":
        found.append("clock is event: numbers stand still while no event comes")
    return found


def _print_problems(error: ConfigError) -> None:
    """One line a problem, the remedy below it; on stderr."""
    for problem in error.problems:
        where = error.source if problem.line is None else f"{error.source}:{problem.line}"
        click.echo(f"{_bold(where)}: {_red(problem.key)}: {problem.reason}", err=True)
        if problem.remedy:
            click.echo(f"    → {problem.remedy}", err=True)
    count = len(error.problems)
    click.echo(f"{count} problem{'s' if count != 1 else ''}", err=True)


def _bold(text: str) -> str:
    return click.style(text, bold=True)


def _red(text: str) -> str:
    return click.style(text, fg="red")


def _print_summary(source: str, settings: Settings) -> None:
    rules = settings.rules
    click.echo(f"{click.style('good', fg='green')}: {source}")
    servers = "the embedded broker" if settings.kafka.embedded else settings.kafka.bootstrap_servers
    click.echo(f"{_bold('kafka')}       {settings.kafka.topic} on {servers}, group {settings.kafka.group}")
    _print_table(
        "windows",
        [(w.name, f"{w.panes:,} panes of {format_duration(w.pane_ms)}") for w in rules.windows],
    )
    revenue = {goal.name: f"revenue from {goal.revenue}" if goal.revenue else "" for goal in rules.goals}
    _print_table("goals", [(g.name, g.kind, _match_text(g.match), revenue[g.name]) for g in rules.goals])
    _print_table(
        "dimensions",
        [(d.name, f"field {d.field}", f"{d.max_values:,} values at most") for d in rules.dimensions],
    )
    for note in notes(settings):
        click.echo(f"{click.style('note', fg='yellow')}: {note}")


def _print_table(title: str, rows: list[tuple[str, ...]]) -> None:
    """Rows in aligned columns, the title before the first."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for index, row in enumerate(rows):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        head = title if index == 0 else ""
        click.echo(f"{_bold(head.ljust(10))}  {cells}")


def _match_text(match: tuple[tuple[str, frozenset[str]], ...]) -> str:
    """A match as one writes it: `event: click, properties.link: pricing`."""
    parts = []
    for path, accepted in match:
        values = sorted(accepted)
        parts.append(f"{path}: {values[0] if len(values) == 1 else '[' + ', '.join(values) + ']'}")
    return ", ".join(parts)


def _problems_json(error: ConfigError) -> dict[str, object]:
    problems = [
        {"line": p.line, "key": p.key, "reason": p.reason, "remedy": p.remedy} for p in error.problems
    ]
    return {"file": error.source, "ok": False, "problems": problems}


def _summary_json(source: str, settings: Settings) -> dict[str, object]:
    rules = settings.rules
    return {
        "file": source,
        "ok": True,
        "problems": [],
        "windows": [
            {"name": w.name, "length_ms": w.length_ms, "pane_ms": w.pane_ms, "panes": w.panes}
            for w in rules.windows
        ],
        "goals": [
            {
                "name": goal.name,
                "kind": goal.kind,
                "match": {path: sorted(accepted) for path, accepted in goal.match},
                "revenue": goal.revenue,
            }
            for goal in rules.goals
        ],
        "dimensions": [
            {"name": d.name, "field": d.field, "max_values": d.max_values} for d in rules.dimensions
        ],
        "notes": notes(settings),
    }
