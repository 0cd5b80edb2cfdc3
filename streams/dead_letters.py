"""Sends what cannot be counted to its own topic, byte for byte, with reason, detail and source position."""

from __future__ import annotations

import asyncio
from typing import Any

from monitor.counters import PipelineCounters
from streams.events import Rejected
from streams.patience import until_done
from streams.seldom import Seldom
from streams.shards import OwnedShard
from streams.topology import Topology
from streams.transport import Record

#: Dead letters under way at once: a flood of them waits for the broker, and holds no more memory than this.
AT_ONCE = 500


class DeadLetters:
    """The sender of one worker. A checkpoint waits for what it sent (`OwnedShard.unacknowledged`)."""

    def __init__(self, topology: Topology, counters: PipelineCounters, seldom: Seldom) -> None:
        self._topology, self._counters, self._seldom = topology, counters, seldom

    async def send(self, producer: Any, owned: OwnedShard, record: Record, rejected: Rejected) -> None:
        """Send one; waits only while too many are under way."""
        self._counters.count_rejected(rejected.reason)
        self._seldom.warn("rejected", "an event was rejected (%s: %s)", rejected.reason, rejected.detail)
        headers = [
            ("reason", rejected.reason.encode()),
            ("detail", rejected.detail.encode()),
            ("topic", self._topology.consumed.encode()),
            ("partition", str(owned.partition).encode()),
            ("offset", str(record.offset).encode()),
        ]

        async def attempt() -> None:
            sent = await producer.send(
                self._topology.dead_letter, record.key, record.value, None, None, headers
            )
            await sent

        waiting = owned.unacknowledged
        waiting.append(asyncio.ensure_future(until_done("sending a dead letter", attempt)))
        if len(waiting) % AT_ONCE == 0:
            await asyncio.wait(waiting[-AT_ONCE:])
