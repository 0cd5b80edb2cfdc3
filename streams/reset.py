"""Forgetting on purpose all that a group has counted: which topics that are, and deleting them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, NonEmptyGroup

from streams.embedded import CLUSTER_ID_PREFIX
from streams.errors import BrokerError, StateError
from streams.offsets import end_offsets
from streams.patience import PAUSE_S
from streams.topics import TopicAdmin
from streams.topology import Topology

T = TypeVar("T")
#: How long a broker may be unable to answer for the moment (no coordinator yet), seconds.
PATIENCE_S = 15.0
#: How long a worker that was killed may still be in the group, and one that runs be silent, at most; seconds.
LEAVING_S = 8.0


@dataclass(frozen=True)
class Found:
    """What there is of a group.

    Attributes:
        state: Its topics with state, and their numbers of partitions: these go.
        kept: Other topics of it that are there: these stay.
        consumed: Partitions of the consumed topic; None: it is not there.
    """

    state: dict[str, int]
    kept: tuple[str, ...]
    consumed: int | None


async def look(admin: TopicAdmin, topology: Topology) -> Found:
    """What there is of a group; nothing is changed.

    Raises:
        BrokerError: The broker does not answer what is asked.
    """
    there = await _patiently(admin, admin.partitions)
    state = {name: there[name] for name in topology.state() if name in there}
    others = (topology.topic, topology.dead_letter, topology.alerts, topology.commands)
    return Found(state, tuple(name for name in others if name in there), there.get(topology.consumed))


async def require_no_workers(
    admin: TopicAdmin, topology: Topology, found: Found, say: Callable[[str], None], **client_kwargs: Any
) -> None:
    """Returns once no worker is in the group; gives those that have just been killed some seconds to drop out of it.

    The embedded broker keeps everybody who ever was in a group. There a worker runs if it writes to the topic of
    counts, which each does every few seconds.

    Raises:
        StateError: Workers run.
        BrokerError: The broker does not answer what is asked.
    """

    async def members() -> int:
        return await _patiently(admin, lambda: admin.members(topology.group))

    async def told() -> int:
        tp = TopicPartition(topology.counts, 0)
        return (
            (await end_offsets(admin.bootstrap, [tp], **client_kwargs))[tp] if tp.topic in found.state else 0
        )

    running = await members()
    if not running:
        return
    say(f"group {topology.group} has members ({running}); waiting up to {LEAVING_S:g} s for them to leave")
    embedded = (await _patiently(admin, admin.cluster_id)).startswith(CLUSTER_ID_PREFIX)
    told_before = await told() if embedded else 0
    clock = asyncio.get_running_loop().time
    until = clock() + LEAVING_S
    while clock() < until and (running := await members()):
        await asyncio.sleep(PAUSE_S)
    if running and not (embedded and await told() == told_before):
        raise _workers_run(topology.group)


def _workers_run(group: str) -> StateError:
    return StateError(f"workers of group {group} run", remedy="stop them all, then try again")


async def forget(admin: TopicAdmin, topology: Topology, found: Found) -> bool:
    """Delete the group with its offsets, then its topics with state; whether there was such a group.

    The group goes first: Apache Kafka refuses that while a worker is in it, also one that was started after
    `require_no_workers`. If this fails on its way, it can be done again.

    Raises:
        StateError: Workers run.
        TopicError: The broker does not delete a topic.
        BrokerError: It does not answer what is asked.
    """
    try:
        was_there = await _patiently(admin, lambda: admin.delete_group(topology.group))
    except NonEmptyGroup as error:
        raise _workers_run(topology.group) from error
    await _patiently(admin, lambda: admin.delete(found.state))
    return was_there


async def _patiently(admin: TopicAdmin, attempt: Callable[[], Awaitable[T]]) -> T:
    clock = asyncio.get_running_loop().time
    until = clock() + PATIENCE_S
    while True:
        try:
            return await attempt()
        except NonEmptyGroup:
            raise
        except KafkaError as error:
            if not error.retriable or clock() > until:
                msg = f"{admin.bootstrap} answered: {error}"
                remedy = "nothing or a part is deleted: when the cause is gone, reset again"
                raise BrokerError(msg, remedy=remedy) from error
        await asyncio.sleep(PAUSE_S)
