"""Reading a few records of a topic, outside any consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from streams.connection import reader

#: How long one look for records may take, in ms.
POLL_MS = 200


async def read_span(
    bootstrap: str,
    spans: Mapping[TopicPartition, tuple[int, int]],
    *,
    timeout_s: float = 10.0,
    **client_kwargs: Any,
) -> list[ConsumerRecord]:
    """Records of each partition from an offset to before another, in the order of their offsets.

    Fewer come back where the log has gaps, or if not all could be read in time.
    """
    wanted = {tp: span for tp, span in spans.items() if span[0] < span[1]}
    if not wanted:
        return []
    found: list[ConsumerRecord] = []
    try:
        async with asyncio.timeout(timeout_s), reader(bootstrap, client_kwargs) as consumer:
            consumer.assign(list(wanted))
            for tp, (start, _) in wanted.items():
                consumer.seek(tp, start)
            while reading := [tp for tp, (_, end) in wanted.items() if await consumer.position(tp) < end]:
                for tp, records in (await consumer.getmany(*reading, timeout_ms=POLL_MS)).items():
                    found += [record for record in records if record.offset < wanted[tp][1]]
    except TimeoutError:
        pass
    return sorted(found, key=lambda record: (record.topic, record.partition, record.offset))
