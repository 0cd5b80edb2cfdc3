"""`conversion-monitor reset`: forget on purpose all that a group has counted."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from streams.connection import wait_for_broker
from streams.errors import ConfigError, Problem
from streams.reset import Found, forget, look, require_no_workers
from streams.settings import Settings
from streams.target import Target, find_target
from streams.topics import TopicAdmin, creation_command
from streams.topology import Topology

#: Seconds in which a broker must answer.
BROKER_TIMEOUT_S = 10.0

_EPILOG = """\b
Exit code: 0 if it is done or there is nothing to forget, 1 if not, 2 for wrong usage or config.
\b
Examples:
  conversion-monitor reset --config monitor.yaml
  conversion-monitor reset --config monitor.yaml --yes --json
"""


@click.command(name="reset", epilog=_EPILOG)
@click.option(
    "--config",
    "-c",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="YAML config file of the workers: it names brokers and group.",
)
@click.option("--yes", is_flag=True, help="Do not ask first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text; needs --yes.")
def command(config: Path, *, yes: bool, as_json: bool) -> None:
    """Forget all that the group of a config has counted, to begin again.

    Stop all its workers first. Deletes the group's state (visitors, sessions, sums, totals, what the detectors
    have learned) and its committed offsets. The next worker counts from the beginning of what the topic of events
    still holds. Events, dead letters, alerts and commands stay.
    """
    if as_json and not yes:
        msg = "--json cannot ask: add --yes"
        raise click.UsageError(msg)
    if not yes and not sys.stdin.isatty():
        msg = "there is no terminal to ask on, and state is deleted for good: add --yes if that is meant"
        raise click.UsageError(msg)
    target = _target(config)
    assert target.settings is not None
    done = asyncio.run(_reset(target, target.settings, ask=not yes, say=not as_json))
    if as_json:
        click.echo(orjson.dumps(done, option=orjson.OPT_INDENT_2))


def _target(config: Path) -> Target:
    try:
        return find_target(None, None, config)
    except ConfigError as error:
        if any(p.key == "kafka.bootstrap_servers" and "its own broker" in p.reason for p in error.problems):
            reason = "the worker's own broker keeps nothing when it ends"
            remedy = "to begin again, stop the worker and start it"
            raise ConfigError(
                str(config), (Problem(None, "kafka.bootstrap_servers", reason, remedy),)
            ) from error
        raise


async def _reset(target: Target, settings: Settings, *, ask: bool, say: bool) -> dict[str, Any]:
    """Do it and tell; what was deleted and what was kept."""
    kafka = settings.kafka
    topology = Topology(target.topic, kafka.group, kafka.keyed_by_visitor)

    def note(text: str) -> None:
        click.echo(text, err=True)

    await wait_for_broker(target.bootstrap, note, BROKER_TIMEOUT_S, **target.client_kwargs)
    async with TopicAdmin(target.bootstrap, target.client_kwargs) as admin:
        found = await look(admin, topology)
        await require_no_workers(admin, topology, found, note, **target.client_kwargs)
        if ask:
            click.echo(_plan(target, topology, found))
            click.confirm("Forget all this for good?", abort=True)
        offsets = await forget(admin, topology, found)
    if say:
        _tell(target, settings, topology, found, offsets=offsets)
    return {
        "group": kafka.group,
        "bootstrap": target.bootstrap,
        "deleted": {"topics": list(found.state), "offsets": offsets},
        "kept": list(found.kept),
    }


def _plan(target: Target, topology: Topology, found: Found) -> str:
    lines = [f"state of group {topology.group} on {target.bootstrap}:"]
    lines += [
        f"  topic {name}, {n} partition{'s' * (n > 1)}, with all in it" for name, n in found.state.items()
    ]
    lines += [f"  committed offsets of group {topology.group}", f"kept: {', '.join(found.kept) or 'nothing'}"]
    return "\n".join(lines)


def _tell(target: Target, settings: Settings, topology: Topology, found: Found, *, offsets: bool) -> None:
    if not (found.state or offsets):
        click.echo(f"nothing to forget: group {topology.group} has no state on {target.bootstrap}")
        return
    for name in found.state:
        click.echo(f"deleted topic {name}")
    if offsets:
        click.echo(f"deleted committed offsets of group {topology.group}")
    click.echo(f"kept: {', '.join(found.kept) or 'nothing'}")
    click.echo(f"the next worker counts from the beginning of what {topology.topic} still holds")
    if settings.kafka.create_topics:
        return
    click.echo("kafka.create_topics is false: create before it starts")
    for spec in topology.specs(found.consumed or settings.kafka.partitions):
        if spec.name in found.state:
            click.echo(f"  {creation_command(target.bootstrap, spec, settings.kafka.replication_factor)}")
