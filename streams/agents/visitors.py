"""Agent `visitors`: counts the batches of its partitions."""

from __future__ import annotations

from typing import Any

from streams.pipeline import Pipeline

NAME = "visitors"


def register(app: Any, pipeline: Pipeline) -> None:
    """Attach the agent to the consumed topic; its messages carry batches (`streams.transport`)."""
    topic = app.topic(pipeline.topology.consumed, value_serializer="raw", key_serializer="raw", acks=False)

    async def visitors(stream: Any) -> None:
        async for event in stream.events():
            await pipeline.count(event.message.batch)

    app.agent(topic, name=NAME)(visitors)
