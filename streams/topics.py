"""Topics and groups of a cluster: listing, creating, deleting, reading their settings; and commands for people."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupIdNotFound,
    KafkaError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import DeleteGroupsRequest

from streams.connection import REQUEST_TIMEOUT_MS
from streams.embedded import CLUSTER_ID_PREFIX
from streams.errors import TopicError

#: Seconds that new topics may take to be known everywhere, with a leader for each partition.
LEADERS_TIMEOUT_S = 30.0
#: Seconds that deleted topics may take until nobody lists them any more.
DELETION_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class TopicSpec:
    """What a topic must look like.

    Attributes:
        name: Its name.
        partitions: With how many it is created; an existing one must have as many if `exact`.
        configs: Its settings where we create it.
        exact: Whether another number of partitions is an error.
    """

    name: str
    partitions: int
    configs: Mapping[str, str] = field(default_factory=dict)
    exact: bool = True


class TopicAdmin:
    """An admin client for topics; `async with TopicAdmin("host:port", {}) as admin`.

    Its methods raise aiokafka's `KafkaError` for what may pass by itself (no connection, no controller), and
    `TopicError` for what does not.
    """

    def __init__(self, bootstrap: str, client_kwargs: Mapping[str, Any]) -> None:
        self.bootstrap = bootstrap
        self._client_kwargs = dict(client_kwargs)
        self._client = self._new_client()

    async def __aenter__(self) -> Self:
        try:
            await self._client.start()
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def partitions(self, *, with_leaders: bool = False) -> dict[str, int]:
        """Number of partitions of every topic; `with_leaders`: only where every partition has a leader.

        Asks for all topics: a question for one by its name would create it where the broker may do so.
        """
        found = {}
        for topic in await self._client.describe_topics(None):
            leaders = [p["leader"] for p in topic["partitions"]]
            if leaders and not (with_leaders and min(leaders) < 0):
                found[str(topic["topic"])] = len(leaders)
        return found

    async def create(self, specs: Iterable[TopicSpec], replication_factor: int) -> None:
        """Creates them and returns when they can be used; one that exists by now is left as it is.

        Raises:
            TopicError: The broker refuses one; carries its reason.
        """
        wanted = {s.name: s for s in specs}
        if not wanted:
            return
        new = [
            NewTopic(s.name, s.partitions, replication_factor, topic_configs=dict(s.configs))
            for s in wanted.values()
        ]
        answer = await self._client.create_topics(new)
        for name, code, reason in answer.topic_errors:
            error = for_code(code)
            if code == 0 or error is TopicAlreadyExistsError:
                continue
            if getattr(error, "retriable", False):
                raise error(reason)
            msg = f"topic {name} cannot be created: {reason or error.__name__}"
            command = creation_command(self.bootstrap, wanted[name], replication_factor)
            raise TopicError(msg, remedy=f"create it by hand, or change what is refused:\n    {command}")
        await self._wait_for_leaders(set(wanted))

    async def delete(self, names: Iterable[str]) -> None:
        """Deletes topics and returns when they are no longer listed; one that is not there is none.

        Raises:
            TopicError: The broker refuses some; names each with its reason.
        """
        wanted = list(names)
        if not wanted:
            return
        answer = await self._client.delete_topics(wanted)
        refused = {
            name: for_code(code).__name__
            for name, code, *_ in answer.topic_error_codes
            if code and for_code(code) is not UnknownTopicOrPartitionError
        }
        if refused:
            reasons = ", ".join(f"{name} ({reason})" for name, reason in refused.items())
            commands = "".join(f"\n    {deletion_command(self.bootstrap, name)}" for name in refused)
            msg = f"{self.bootstrap} does not delete {reasons}"
            raise TopicError(msg, remedy=f"try again, or delete by hand as somebody who may:{commands}")
        try:
            async with asyncio.timeout(DELETION_TIMEOUT_S):
                while set(wanted) & set(await self.partitions()):
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            msg = f"{', '.join(wanted)} still listed {DELETION_TIMEOUT_S:g} s after the deletion"
            raise KafkaError(msg) from error

    async def members(self, group: str) -> int:
        """How many members a consumer group has; 0 also if there is no such group."""
        (answer,) = await self._client.describe_consumer_groups([group])
        (found,) = answer.groups
        error = for_code(found[0])
        if found[0] and error is not GroupIdNotFound:
            msg = f"group {group}"
            raise error(msg)
        return len(found[5])

    async def delete_group(self, group: str) -> bool:
        """Deletes a consumer group with its committed offsets; False if there is none.

        Raises:
            KafkaError: Such as `NonEmptyGroup`: it has members.
        """
        # The embedded broker says of every group that it was deleted.
        listed = any(name == group for name, *_ in await self._client.list_consumer_groups())
        node = await self._client.find_coordinator(group)
        # The client has no method for this request.
        answer = await self._client._send_request(DeleteGroupsRequest([group]), node)  # noqa: SLF001
        ((_, code),) = answer.results
        error = for_code(code)
        if error is GroupIdNotFound:
            return False
        if code:
            msg = f"group {group}"
            raise error(msg)
        return listed

    async def cluster_id(self) -> str:
        """Id of the cluster."""
        return str((await self._client.describe_cluster()).get("cluster_id"))

    async def config(self, topics: Iterable[str], key: str) -> dict[str, str]:
        """One setting of each topic; without those of which the broker does not tell it."""
        names = list(topics)
        if not names or (await self.cluster_id()).startswith(CLUSTER_ID_PREFIX):
            return {}  # the embedded broker has no settings, and drops the connection at this question
        answers = await self._client.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name, {key: None}) for name in names]
        )
        return {
            str(name): str(entry[1])
            for answer in answers
            for code, _, _, name, entries in answer.resources
            for entry in entries
            if code == 0 and entry[0] == key
        }

    async def _wait_for_leaders(self, names: set[str]) -> None:
        try:
            async with asyncio.timeout(LEADERS_TIMEOUT_S):
                while names - set(await self.partitions(with_leaders=True)):
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            msg = f"no leader for all partitions of {', '.join(sorted(names))}"
            raise KafkaError(msg) from error

    def _new_client(self) -> AIOKafkaAdminClient:
        return AIOKafkaAdminClient(
            bootstrap_servers=self.bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS, **self._client_kwargs
        )


def creation_command(bootstrap: str, spec: TopicSpec, replication_factor: int) -> str:
    """The command that creates the topic as we would."""
    configs = "".join(f" --config {key}={value}" for key, value in spec.configs.items())
    return (
        f"kafka-topics.sh --bootstrap-server {bootstrap} --create --topic {spec.name}"
        f" --partitions {spec.partitions} --replication-factor {replication_factor}{configs}"
    )


def deletion_command(bootstrap: str, name: str) -> str:
    """The command that deletes the topic."""
    return f"kafka-topics.sh --bootstrap-server {bootstrap} --delete --topic {name}"
