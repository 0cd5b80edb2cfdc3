"""`conversion-monitor unmute`: the end of a mute."""

from __future__ import annotations

from pathlib import Path

import click

from streams.operator_commands import Unmute
from streams.operator_sending import command_options, send, series_options

_EPILOG = """\b
Name exactly the series that were named to `mute`. What the config mutes stays muted.

\b
Examples:
  conversion-monitor unmute --goal purchase --config monitor.yaml
"""


@click.command(name="unmute", epilog=_EPILOG)
@series_options
@command_options
def command(
    *,
    goal: str | None,
    dimension: str | None,
    value: str | None,
    bootstrap: str | None,
    config: Path | None,
    group: str | None,
    by: str,
    note: str,
) -> None:
    """Take back a mute; alerts that are still open are told at once."""
    send(Unmute(goal=goal, dimension=dimension, value=value, by=by, note=note), bootstrap, config, group)
