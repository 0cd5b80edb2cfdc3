"""Agent `rates`: keeps what every partition told last, in a table, and so holds the totals."""

from __future__ import annotations

import time
from typing import Any

from streams.board import OWNER_KEY
from streams.patience import until_done
from streams.pipeline import Pipeline
from streams.recovery import restore
from streams.topology import COUNTS_TABLE, DETECTOR_TABLE

NAME = "rates"
#: A partition's counts are told again every few seconds anyway, so the table need not have each of them.
_SAVE_S = 5.0


def register(app: Any, pipeline: Pipeline) -> None:
    """Attach the agent to the counts topic."""
    topic = app.topic(pipeline.topology.counts, key_type=bytes, value_type=bytes, value_serializer="raw")
    broker = pipeline.settings.kafka.bootstrap_servers, pipeline.client_kwargs
    table = app.Table(COUNTS_TABLE, partitions=1, key_type=bytes, value_type=bytes)
    detector = app.Table(DETECTOR_TABLE, partitions=1, key_type=bytes, value_type=bytes)

    async def settle() -> None:
        mine = any(tp.topic == pipeline.topology.counts for tp in app.consumer.assignment())
        if not mine:
            pipeline.drop_totals()
            return
        # A worker that hung learns here that another one held the totals in the meantime, and what it judged.
        await pipeline.board.catch_up(*broker)
        if pipeline.totals is None or pipeline.superseded:
            latest = await until_done("reading the totals", lambda: restore(table, *broker))
            rows = await until_done("reading the detectors", lambda: restore(detector, *broker))
            pipeline.hold_totals({int(key): value for key, value in latest.items()}, rows)

    app.when_recovered(settle)
    pipeline.settle = settle

    async def rates(stream: Any) -> None:
        saved: dict[bytes, float] = {}
        async for event in stream.events():
            key, value = event.key, event.value
            if key == OWNER_KEY or value is None or not pipeline.add(int(key), value):
                continue
            if time.monotonic() - saved.get(key, -_SAVE_S) >= _SAVE_S:
                table[key] = value
                saved[key] = time.monotonic()

    app.agent(topic, name=NAME)(rates)
