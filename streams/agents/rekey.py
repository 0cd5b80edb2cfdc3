"""Agent `rekey`: for publishers that cannot key by visitor, sends every event on, keyed by its visitor.

Each copy says in headers where it comes from, so that a copy sent twice after a crash is recognised
(`streams.keyed`); what has no visitor id goes to partition 0 and is rejected there like any bad event.
"""

from __future__ import annotations

import itertools
from typing import Any

from faust.types import TP

from streams.fetched import Batch
from streams.keyed import origin_headers, visitor_key
from streams.pipeline import Pipeline

NAME = "rekey"


def register(app: Any, pipeline: Pipeline) -> None:
    """Attach the agent to the publishers' topic."""
    topic = app.topic(pipeline.topology.topic, value_serializer="raw", key_serializer="raw", acks=False)

    async def rekey(stream: Any) -> None:
        async for event in stream.events():
            batch: Batch = event.message.batch
            sent = []
            try:
                records = list(itertools.chain.from_iterable(batch.parts(batch.start)))
            except Exception as error:
                await app.fail(error)  # a record that cannot be read: what is behind it must not be committed
                raise
            for record in records:
                key = visitor_key(record.value)
                headers = origin_headers(record, batch.partition)
                partition = 0 if key is None else None
                sent.append(
                    await app.producer.send(
                        pipeline.topology.keyed, key or record.key, record.value, partition, None, headers
                    )
                )
            for future in sent:
                await future
            pipeline.shards.forwarded[TP(batch.topic, batch.partition)] = batch.end

    app.agent(topic, name=NAME)(rekey)
