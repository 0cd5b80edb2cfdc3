"""`conversion-monitor mute`: no alerts of some series until a time."""

from __future__ import annotations

import time
from pathlib import Path

import click

from monitor.windows import parse_duration
from streams.operator_commands import Mute
from streams.operator_sending import command_options, send, series_options

_EPILOG = """\b
Series that are always muted belong into the config, detection.mute. A mute ends by itself, or by `unmute`.

\b
Examples:
  conversion-monitor mute --goal purchase --until 2h --config monitor.yaml
  conversion-monitor mute --dimension device --value mobile --until 2026-11-27T18:00:00Z --note "app release"
"""


@click.command(name="mute", epilog=_EPILOG)
@series_options
@click.option(
    "--until",
    required=True,
    metavar="TIME",
    help="End: from now (90m, 2h, 1d), or RFC 3339 with zone, or epoch seconds; event time.",
)
@command_options
def command(
    *,
    goal: str | None,
    dimension: str | None,
    value: str | None,
    until: str,
    bootstrap: str | None,
    config: Path | None,
    group: str | None,
    by: str,
    note: str,
) -> None:
    """Tell no alerts of a goal, a dimension or a value until a time."""
    end = _end(until)
    mute = Mute(goal=goal, dimension=dimension, value=value, until=end, by=by, note=note)
    send(mute, bootstrap, config, group)


def _end(until: str) -> float | str:
    """A duration as epoch seconds; anything else as it is, to be judged with the rest of the command."""
    try:
        return round(time.time() + parse_duration(until) / 1000)
    except ValueError:
        return float(until) if until.isdecimal() else until
