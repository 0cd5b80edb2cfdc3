"""Where a command finds the brokers: from `--config`, or from `--bootstrap` and `--topic`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from streams.connection import client_arguments
from streams.errors import ConfigError, Problem
from streams.settings import EMBEDDED, Settings, load_settings

DEFAULT_BOOTSTRAP = "127.0.0.1:9092"
DEFAULT_TOPIC = "clickstream"


@dataclass(frozen=True)
class Target:
    """Brokers and topic that a command works on.

    Attributes:
        bootstrap: `host:port`, several with commas.
        topic: The topic of events.
        client_kwargs: Further arguments of an aiokafka client (security).
        settings: The whole config, if one was given.
    """

    bootstrap: str
    topic: str
    client_kwargs: dict[str, Any] = field(default_factory=dict, repr=False)
    settings: Settings | None = None


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--bootstrap`, `--topic` and `--config` to a command, as parameters of these names."""
    file = click.Path(dir_okay=False, path_type=Path)
    for option in (
        click.option("--config", type=file, help="Take brokers, topic and security from this config."),
        click.option("--topic", help=f"Topic of events.  [default: {DEFAULT_TOPIC}]"),
        click.option(
            "--bootstrap",
            metavar="HOST:PORT",
            help=f"Kafka brokers, several with commas.  [default: {DEFAULT_BOOTSTRAP}]",
        ),
    ):
        command = option(command)
    return command


def find_target(bootstrap: str | None, topic: str | None, config: Path | None) -> Target:
    """The target that the three options name; an option beats the config.

    Raises:
        ConfigError: The config has problems, or names the embedded broker, whose address it does not know.
    """
    if config is None:
        return Target(bootstrap or DEFAULT_BOOTSTRAP, topic or DEFAULT_TOPIC)
    settings = load_settings(config, os.environ)
    kafka = settings.kafka
    if kafka.bootstrap_servers == EMBEDDED and bootstrap is None:
        reason = "the worker starts its own broker, whose address the config does not tell"
        remedy = "give --bootstrap with the address that the worker prints at its start"
        raise ConfigError(
            str(config), (Problem(None, "kafka.bootstrap_servers", f"{reason} ({EMBEDDED})", remedy),)
        )
    return Target(
        bootstrap or kafka.bootstrap_servers,
        topic or kafka.topic,
        client_arguments(kafka.security),
        settings,
    )
