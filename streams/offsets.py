"""First, end and committed offsets of partitions, right on every broker.

`ListOffsets(latest)` cannot be trusted everywhere: the embedded broker answers with the base offset of the
last batch plus one, so a reader that stops there silently loses the rest of that batch. The high watermark of
a Fetch response is right on every broker, so that is what `end_offsets` reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.connection import reader
from streams.errors import BrokerError, TopicError

#: How long the broker may hold a Fetch at the end of a partition, in ms. Must not be 0 where `min_bytes` is
#: 0: the embedded broker then answers before it looked.
FETCH_WAIT_MS = 20
#: Enough for one batch of every partition; whole batches come even if they are larger.
FETCH_BYTES = 64 * 1024
#: How long a topic may be missing, in seconds: after its creation not every node knows it at once.
TOPIC_WAIT_S = 2.0
#: Pause between two looks at the answers, in seconds.
POLL_S = 0.002


async def end_offsets(
    bootstrap: str, partitions: Iterable[TopicPartition], *, timeout_s: float = 30.0, **client_kwargs: Any
) -> dict[TopicPartition, int]:
    """Offset that the next record of each partition will get.

    Args:
        bootstrap: `host:port`, several separated by commas.
        partitions: Which ones; every topic must exist.
        timeout_s: How long to wait for all answers, in seconds.
        client_kwargs: Further arguments of the aiokafka client (security).

    Raises:
        BrokerError: No broker there, or not all partitions answered in time; names them.
        TopicError: A topic does not exist; names it.
    """
    wanted = sorted(set(partitions))
    if not wanted:
        return {}
    async with _reader(bootstrap, wanted, timeout_s, client_kwargs) as consumer:
        # Close to the end, so that little comes along with the answer; the offset itself is not trusted.
        near = await consumer.end_offsets(wanted)
        for tp in wanted:
            consumer.seek(tp, near[tp])
        while not all(consumer.highwater(tp) is not None for tp in wanted):
            await asyncio.sleep(POLL_S)
        return {tp: int(consumer.highwater(tp)) for tp in wanted}


async def beginning_offsets(
    bootstrap: str, partitions: Iterable[TopicPartition], *, timeout_s: float = 30.0, **client_kwargs: Any
) -> dict[TopicPartition, int]:
    """First offset still stored, of each partition; arguments and errors as in `end_offsets`."""
    wanted = sorted(set(partitions))
    if not wanted:
        return {}
    async with _reader(bootstrap, wanted, timeout_s, client_kwargs) as consumer:
        first = await consumer.beginning_offsets(wanted)
        return {tp: int(first[tp]) for tp in wanted}


async def committed_offsets(
    bootstrap: str,
    group: str,
    partitions: Iterable[TopicPartition],
    *,
    timeout_s: float = 30.0,
    **client_kwargs: Any,
) -> dict[TopicPartition, int]:
    """What a consumer group has committed; without the partitions of which it has not.

    Looks on from outside: it neither joins the group nor commits. Arguments and errors as in `end_offsets`.
    """
    wanted = sorted(set(partitions))
    if not wanted:
        return {}
    async with _reader(bootstrap, wanted, timeout_s, client_kwargs, group) as consumer:
        found = {tp: await consumer.committed(tp) for tp in wanted}
        return {tp: int(offset) for tp, offset in found.items() if offset is not None}


@asynccontextmanager
async def _reader(
    bootstrap: str,
    partitions: list[TopicPartition],
    timeout_s: float,
    client_kwargs: dict[str, Any],
    group: str | None = None,
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that joins no group, whose failures are one `BrokerError`."""
    sizes = {
        "fetch_min_bytes": 1,
        "fetch_max_wait_ms": FETCH_WAIT_MS,
        "max_partition_fetch_bytes": FETCH_BYTES,
    }
    names = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in partitions)
    try:
        async with (
            asyncio.timeout(timeout_s),
            reader(bootstrap, client_kwargs, group_id=group, **sizes) as consumer,
        ):
            await _require_topics(consumer, {tp.topic for tp in partitions}, bootstrap)
            consumer.assign(partitions)
            yield consumer
    except TimeoutError as error:
        message = f"no offsets of {names} from {bootstrap} within {timeout_s:g} s"
        raise BrokerError(message, remedy="do these partitions exist, and is the broker up?") from error
    except KafkaError as error:
        message = f"no offsets of {names} from {bootstrap}: {error}"
        raise BrokerError(message, remedy="is the broker up, and is this its address?") from error


async def _require_topics(consumer: AIOKafkaConsumer, topics: set[str], bootstrap: str) -> None:
    """TopicError unless all of them exist.

    Asks for the list of all topics: a question for one by its name would create it where the broker may do
    so, and the embedded broker reports offset 0 for whatever it does not have.
    """
    deadline = asyncio.get_running_loop().time() + TOPIC_WAIT_S
    while missing := topics - set(await consumer.topics()):
        if asyncio.get_running_loop().time() > deadline:
            msg = f"no topic {', '.join(sorted(missing))} on {bootstrap}"
            raise TopicError(msg)
        await asyncio.sleep(0.1)
