"""`conversion-monitor run`: a worker in the foreground."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import click

from streams.errors import MonitorError
from streams.logs import set_up_logs
from streams.runner import exit_at_once, run_worker
from streams.settings import load_settings

_EPILOG = """\b
Examples:
  conversion-monitor run --config monitor.yaml
  conversion-monitor run --config monitor.yaml --port 8001 --log-format json
"""


@click.command("run", epilog=_EPILOG)
@click.option(
    "--config", "-c", "config", required=True, type=click.Path(path_type=Path), help="YAML config file."
)
@click.option("--port", type=click.IntRange(0, 65535), help="HTTP port instead of the config's http.port.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", help="Lines for people, or JSON."
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
def command(config: Path, port: int | None, log_format: str, log_level: str) -> None:
    """Run a worker; several of one group share the partitions.

    SIGTERM or Ctrl-C: a last checkpoint, then it ends with exit code 0.
    """
    settings = load_settings(config, os.environ)
    if port is not None:
        settings = replace(settings, http=replace(settings.http, port=port))
    set_up_logs(log_format, log_level)
    try:
        asyncio.run(run_worker(settings))
    except MonitorError as error:
        click.secho(f"error: {error}", fg="red", err=True)
        exit_at_once(error.exit_code)
    exit_at_once(0)
