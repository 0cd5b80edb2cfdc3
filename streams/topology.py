"""Topics by explicit names, what each must look like, and making sure that they exist.

Names, from the consumed topic and the consumer group:

| name | what | partitions |
|---|---|---|
| `{topic}` | events | those it has; created with `kafka.partitions` |
| `{topic}-dead-letter` | its messages that cannot be counted | 1 |
| `conversion-counts`, `conversion-alerts`, `conversion-commands` | public, see below | 1 each |
| `{group}-keyed` | events by visitor, only if publishers do not key them | `kafka.partitions` |
| `{group}-shards-changelog` | Faust table `shards` | as many as are consumed |
| `{group}-counts-changelog` | Faust table `counts` | 1 |
| `{group}-detector-changelog` | Faust table `detector` | 1 |

The default group uses the public names as they are; every other group puts itself in front of them
(`shop-conversion-counts`), so that two groups never write to the same topic. Only dead letters are per topic,
whoever reads it. Faust's app id is the group, from which the names of changelogs follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.errors import KafkaError

from streams.connection import log_waiting, wait_for_broker
from streams.errors import BrokerError, TopicError
from streams.topics import TopicAdmin, TopicSpec, creation_command, deletion_command

DEFAULT_GROUP: Final = "conversion-monitor"
#: Names of the Faust tables; their changelogs are named after them.
SHARDS_TABLE: Final = "shards"
COUNTS_TABLE: Final = "counts"
DETECTOR_TABLE: Final = "detector"

_DAY_MS = 86_400_000
_MIB = 1 << 20
#: Retention by time of arrival: events carry their own time, and a replay of last year must not expire at
#: once.
_BY_ARRIVAL = {"message.timestamp.type": "LogAppendTime"}
#: Only the latest record of a key is kept. Small segments: one is not compacted while it is written to, and a
#: restart reads all that is not compacted. Ten minutes' grace: by then whoever took a partition over has
#: claimed it and written more than one full rotation of its state.
_COMPACTED = {
    **_BY_ARRIVAL,
    "cleanup.policy": "compact",
    "min.compaction.lag.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.bytes": str(32 * _MIB),
    "segment.ms": "600000",
}
#: A dead letter is as large as what a publisher sent, with headers; the source's limit may have been raised.
_DEAD_LETTER = {**_BY_ARRIVAL, "retention.ms": str(14 * _DAY_MS), "max.message.bytes": str(16 * _MIB)}
_KEYED = {**_BY_ARRIVAL, "retention.ms": str(7 * _DAY_MS), "max.message.bytes": str(16 * _MIB)}
_ALERTS = {**_BY_ARRIVAL, "retention.ms": str(365 * _DAY_MS)}
_COMMANDS = {**_BY_ARRIVAL, "retention.ms": str(7 * _DAY_MS)}


@dataclass(frozen=True)
class Topology:
    """Names of all topics of a monitor; the module's docstring has the rules.

    Attributes:
        topic: The topic that publishers write to.
        group: Consumer group, Faust's app id, prefix of the internal topics.
        keyed_by_visitor: Whether publishers key by visitor; if not, `keyed` is consumed instead.
    """

    topic: str = "clickstream"
    group: str = DEFAULT_GROUP
    keyed_by_visitor: bool = True

    @property
    def dead_letter(self) -> str:
        """Messages that could not be counted, byte for byte."""
        return f"{self.topic}-dead-letter"

    @property
    def counts(self) -> str:
        """What stage one says to stage two."""
        return self._public("conversion-counts")

    @property
    def alerts(self) -> str:
        """Alert records, one for each change of state."""
        return self._public("conversion-alerts")

    @property
    def commands(self) -> str:
        """What people tell the workers."""
        return self._public("conversion-commands")

    @property
    def keyed(self) -> str:
        """Events again, keyed by visitor; used only if publishers do not do so."""
        return f"{self.group}-keyed"

    @property
    def consumed(self) -> str:
        """The topic whose partitions are counted: `topic`, or `keyed` if publishers do not key by visitor."""
        return self.topic if self.keyed_by_visitor else self.keyed

    @property
    def shards_changelog(self) -> str:
        """State of stage one; as many partitions as `consumed`."""
        return f"{self.group}-{SHARDS_TABLE}-changelog"

    @property
    def counts_changelog(self) -> str:
        """State of stage two."""
        return f"{self.group}-{COUNTS_TABLE}-changelog"

    @property
    def detector_changelog(self) -> str:
        """State of the detectors."""
        return f"{self.group}-{DETECTOR_TABLE}-changelog"

    def written(self) -> tuple[str, ...]:
        """Every topic that the workers write to: none of them can be the topic that events are read from."""
        names = (self.dead_letter, self.keyed, self.counts, self.alerts, self.commands)
        return (*names, self.shards_changelog, self.counts_changelog, self.detector_changelog)

    def state(self) -> tuple[str, ...]:
        """Every topic that holds what a group has counted; the keyed copy of events as well, which goes with it."""
        return (
            self.keyed,
            self.counts,
            self.shards_changelog,
            self.counts_changelog,
            self.detector_changelog,
        )

    def specs(self, partitions: int) -> tuple[TopicSpec, ...]:
        """All topics in use; `partitions` is the number of the consumed topic."""
        keyed = () if self.keyed_by_visitor else (TopicSpec(self.keyed, partitions, _KEYED),)
        return (
            TopicSpec(self.topic, partitions, _BY_ARRIVAL, exact=False),
            TopicSpec(self.dead_letter, 1, _DEAD_LETTER, exact=False),
            *keyed,
            TopicSpec(self.counts, 1, _COMPACTED),
            TopicSpec(self.alerts, 1, _ALERTS, exact=False),
            TopicSpec(self.commands, 1, _COMMANDS),
            TopicSpec(self.shards_changelog, partitions, _COMPACTED),
            TopicSpec(self.counts_changelog, 1, _COMPACTED),
            TopicSpec(self.detector_changelog, 1, _COMPACTED),
        )

    def _public(self, name: str) -> str:
        return name if self.group == DEFAULT_GROUP else f"{self.group}-{name}"


async def ensure_topics(
    bootstrap: str,
    topology: Topology,
    *,
    partitions: int = 4,
    replication_factor: int = 1,
    create: bool = True,
    on_wait: Callable[[str], None] = log_waiting,
    timeout: float | None = None,
    **client_kwargs: Any,
) -> int:
    """Makes sure that all topics exist and fit together; waits for the broker as `wait_for_broker` does.

    Args:
        bootstrap: `host:port`, several with commas.
        topology: Their names.
        partitions: Of the event topic (and `keyed`) where it is created.
        replication_factor: Copies of each topic that is created.
        create: False: a missing topic is an error.
        on_wait: Told about each failed try to reach the broker.
        timeout: Seconds after which to give up on the broker; None = never.
        client_kwargs: Further arguments of the aiokafka client (security).

    Returns:
        Number of partitions of `topology.consumed`.

    Raises:
        TopicError: A topic is missing, cannot be created or has the wrong shape; the remedy is a command.
        BrokerError: No broker answered within `timeout`.
    """
    clock = asyncio.get_running_loop().time
    started = clock()
    while True:
        left = None if timeout is None else max(0.0, timeout - (clock() - started))
        await wait_for_broker(bootstrap, on_wait, left, **client_kwargs)
        try:
            async with TopicAdmin(bootstrap, client_kwargs) as admin:
                return await _ensure(admin, topology, partitions, replication_factor, create=create)
        except KafkaError as error:
            if timeout is not None and clock() - started > timeout:
                msg = f"topics on {bootstrap} could not be checked within {timeout:g} s: {error}"
                raise BrokerError(msg) from error
            on_wait(f"checking topics on {bootstrap}: {error}; trying again")
            await asyncio.sleep(1.0)


async def _ensure(
    admin: TopicAdmin, topology: Topology, wanted: int, replication_factor: int, *, create: bool
) -> int:
    found = await admin.partitions()
    specs = check_shapes(admin.bootstrap, topology, wanted, found)
    await check_compaction(admin, [s for s in specs if s.name in found])
    # Who created a topic a moment ago may not see it listed yet. So the number that all others follow is made
    # sure of first; asking for what is there already does no harm, and waits until it is listed.
    for names in ({topology.topic, topology.consumed}, {s.name for s in specs}):
        missing = [s for s in specs if s.name in names and s.name not in found]
        if missing and not create:
            raise _missing(admin.bootstrap, [s for s in specs if s.name not in found], replication_factor)
        if missing:
            await admin.create(missing, replication_factor)
            found = (
                await admin.partitions()
            )  # another worker may have been faster, with another configuration
            specs = check_shapes(admin.bootstrap, topology, wanted, found)
    return found[topology.consumed]


def _missing(bootstrap: str, missing: list[TopicSpec], replication_factor: int) -> TopicError:
    names = ", ".join(s.name for s in missing)
    commands = "".join(f"\n    {creation_command(bootstrap, s, replication_factor)}" for s in missing)
    msg = f"no topic {names} on {bootstrap}, and kafka.create_topics is false"
    return TopicError(msg, remedy=f"create what is missing:{commands}")


def check_shapes(
    bootstrap: str, topology: Topology, wanted: int, found: Mapping[str, int]
) -> tuple[TopicSpec, ...]:
    """What all topics must look like, given those that exist.

    Args:
        bootstrap: For the commands in the remedy.
        topology: Their names.
        wanted: Partitions of the consumed topic if it does not exist yet.
        found: Topic → number of partitions, of those that exist.

    Raises:
        TopicError: One of these does not.
    """
    specs = topology.specs(found.get(topology.consumed, wanted))
    for spec in specs:
        if spec.exact and found.get(spec.name, spec.partitions) != spec.partitions:
            raise _wrong_number(bootstrap, topology, spec, found)
    return specs


async def check_compaction(admin: TopicAdmin, existing: list[TopicSpec]) -> None:
    """TopicError if a topic that holds state would lose it by retention."""
    compacted = [s.name for s in existing if s.configs.get("cleanup.policy") == "compact"]
    for name, policy in (await admin.config(compacted, "cleanup.policy")).items():
        if "compact" not in policy:
            command = f"kafka-configs.sh --bootstrap-server {admin.bootstrap} --alter --entity-type topics"
            command += f" --entity-name {name} --add-config cleanup.policy=compact"
            msg = f"topic {name} has cleanup.policy={policy}: state in it would be deleted with time"
            raise TopicError(msg, remedy=command)


def _wrong_number(
    bootstrap: str, topology: Topology, spec: TopicSpec, found: Mapping[str, int]
) -> TopicError:
    has = found[spec.name]
    delete = deletion_command(bootstrap, spec.name)
    if spec.name != topology.shards_changelog:
        msg = f"topic {spec.name} has {has} partitions and must have {spec.partitions}"
        return TopicError(msg, remedy=f"stop all workers and delete it, it is made anew:\n    {delete}")
    consumed = topology.consumed
    if consumed not in found:
        msg = f"{consumed} is to have {spec.partitions} partitions, but the state in {spec.name} is of {has}"
        return TopicError(msg, remedy=f"set kafka.partitions: {has}; or count anew under another kafka.group")
    msg = (
        f"{consumed} has {spec.partitions} partitions, but the state in {spec.name} is of {has}: "
        "visitors have moved to other partitions, and would be counted twice"
    )
    remedy = "count anew: name another kafka.group; or stop all workers and forget what was counted with"
    return TopicError(msg, remedy=f"{remedy} `conversion-monitor reset --config FILE`")
