"""`conversion-monitor acknowledge`: somebody takes care of an alert."""

from __future__ import annotations

from pathlib import Path

import click

from streams.operator_commands import Acknowledge
from streams.operator_sending import command_options, send

_EPILOG = """\b
The id of an alert is in /api/v1/rates, and in its records as alert_id.

\b
Examples:
  conversion-monitor acknowledge 5f0c9d1be2a37c44 --config monitor.yaml --by Ada
"""


@click.command(name="acknowledge", epilog=_EPILOG)
@click.argument("alert_id")
@command_options
def command(
    *,
    alert_id: str,
    bootstrap: str | None,
    config: Path | None,
    group: str | None,
    by: str,
    note: str,
) -> None:
    """Tell everybody that somebody has seen an open alert and takes care of it."""
    send(Acknowledge(alert_id=alert_id, by=by, note=note), bootstrap, config, group)
