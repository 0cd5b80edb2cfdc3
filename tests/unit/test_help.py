"""What `--help` says of each command."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from streams.cli import COMMANDS, cli


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(command: str) -> None:
    said = CliRunner().invoke(cli, [command, "--help"]).output
    assert "Example" in said
    assert f"    conversion-monitor {command}" in said, "on a line of its own"
    assert "\\b" not in said


def test_the_first_steps_come_without_a_command() -> None:
    said = CliRunner().invoke(cli, ["--help"]).output
    assert "    conversion-monitor demo" in said
    assert "\\b" not in said
