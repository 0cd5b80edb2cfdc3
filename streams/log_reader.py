"""Reads a stretch of one partition outside any consumer group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiokafka import TopicPartition

from streams.connection import reader
from streams.offsets import end_offsets

#: How long one wait for records may take, milliseconds.
_POLL_MS = 500


async def read_log(
    bootstrap: str, topic: str, partition: int, start: int, client_kwargs: Mapping[str, Any]
) -> AsyncIterator[tuple[int, bytes, bytes | None]]:
    """Offset, key and value of all records from `start` to what is the end of the partition when called."""
    tp = TopicPartition(topic, partition)
    end = (await end_offsets(bootstrap, [tp], **client_kwargs))[tp]
    if start >= end:
        return
    sizes = {"fetch_max_wait_ms": 50, "max_partition_fetch_bytes": 8 << 20}
    async with reader(bootstrap, client_kwargs, **sizes) as consumer:
        consumer.assign([tp])
        consumer.seek(tp, start)
        while await consumer.position(tp) < end:
            for records in (await consumer.getmany(tp, timeout_ms=_POLL_MS)).values():
                for record in records:
                    if record.offset < end:
                        yield record.offset, record.key or b"", record.value
