"""What the commands `acknowledge`, `mute` and `unmute` share: their options, and publishing a command of an operator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.connection import try_broker
from streams.errors import BrokerError, TopicError
from streams.operator_commands import Command, parse
from streams.target import DEFAULT_BOOTSTRAP, find_target
from streams.topics import TopicAdmin
from streams.topology import DEFAULT_GROUP, Topology


def command_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--config`, `--bootstrap` and `--group`, which say where to, and `--by` and `--note`."""
    for option in (
        click.option("--note", default="", help="Why; for the worker's log."),
        click.option("--by", default="", help="Who says so; for the worker's log."),
        click.option(
            "--group", help=f"Consumer group, where no config names it.  [default: {DEFAULT_GROUP}]"
        ),
        click.option(
            "--bootstrap",
            metavar="HOST:PORT",
            help=f"Kafka brokers, several with commas.  [default: {DEFAULT_BOOTSTRAP}]",
        ),
        click.option(
            "--config",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Take brokers, group and security from this config.",
        ),
    ):
        command = option(command)
    return command


def series_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--goal`, `--dimension` and `--value`."""
    for option in (
        click.option("--value", help="Only this value of the dimension."),
        click.option("--dimension", help="Only this dimension; `all` is the whole."),
        click.option("--goal", help="Only this goal."),
    ):
        command = option(command)
    return command


def send(command: Command, bootstrap: str | None, config: Path | None, group: str | None) -> None:
    """Publish a command and say where to see what came of it.

    Raises:
        CommandError: It names no series, or what the config does not know.
        ConfigError: The config cannot be used.
        BrokerError: No broker took it.
        TopicError: There is no topic of commands.
    """
    target = find_target(bootstrap, None, config)
    settings = target.settings
    value = msgspec.json.encode(command)
    parse(value, None if settings is None else settings.rules)
    chosen = group or (DEFAULT_GROUP if settings is None else settings.kafka.group)
    into = Topology(target.topic, chosen).commands
    asyncio.run(_publish(target.bootstrap, target.client_kwargs, into, value))
    click.echo(f"published to {into}; what came of it is in /api/v1/rates and in the log of the worker")


async def _publish(bootstrap: str, client_kwargs: dict[str, Any], topic: str, value: bytes) -> None:
    if reason := await try_broker(bootstrap, **client_kwargs):
        msg = f"Kafka at {bootstrap} does not answer: {reason}"
        raise BrokerError(msg, remedy="is the broker up, and is this its address?")
    try:
        async with TopicAdmin(bootstrap, client_kwargs) as admin:
            if topic not in await admin.partitions():
                msg = f"there is no topic {topic} on {bootstrap}"
                raise TopicError(msg, remedy="name the --group of the workers; the first of them creates it")
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", **client_kwargs)
        await producer.start()
        try:
            await producer.send_and_wait(topic, value, partition=0)
        finally:
            await producer.stop()
    except KafkaError as error:
        msg = f"{topic} on {bootstrap} did not take the command: {error}"
        raise BrokerError(msg, remedy="try again") from error
