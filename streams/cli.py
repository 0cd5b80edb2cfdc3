"""The command line `conversion-monitor`: a click group, one module a command in `streams/commands`.

Exit codes: 0 good, 1 it failed, 2 wrong usage or config.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

import click

from streams.errors import MonitorError

#: Commands in the order in which `--help` lists them; each lives in `streams/commands/<name>.py` as `command`.
COMMANDS = (
    "demo",
    "run",
    "check-config",
    "schema",
    "publish",
    "broker",
    "doctor",
    "top",
    "acknowledge",
    "mute",
    "unmute",
    "backtest",
    "reset",
)


class LazyGroup(click.Group):
    """Imports a command's module when it is used, so that `--help` and small commands start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of `COMMANDS`."""
        return [name for name in COMMANDS if _module_exists(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None if there is none."""
        if cmd_name not in COMMANDS or not _module_exists(cmd_name):
            return None
        module = importlib.import_module(_module(cmd_name))
        command: click.Command = module.command
        return command


def _module(name: str) -> str:
    return f"streams.commands.{name.replace('-', '_')}"


def _module_exists(name: str) -> bool:
    return importlib.util.find_spec(_module(name)) is not None


_EPILOG = """\b
First steps:
  conversion-monitor demo                     everything at once, on this machine
  conversion-monitor check-config monitor.yaml
  conversion-monitor run --config monitor.yaml
"""


@click.group(
    cls=LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="conversion-monitor", prog_name="conversion-monitor")
def cli() -> None:
    """Live conversion rates from a Kafka clickstream, and alerts when one falls."""


def main() -> None:
    """Entry point: errors as one readable message, exit code by their kind."""
    try:
        cli(standalone_mode=True)
    except MonitorError as error:
        click.secho(f"error: {error}", fg="red" if sys.stderr.isatty() else None, err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
