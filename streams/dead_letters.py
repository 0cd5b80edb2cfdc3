"""Sends what cannot be counted to its own topic, byte for byte, with reason, detail and source position."""

from __future__ import annotations

import asyncio
from typing import Any

from monitor.counters import PipelineCounters
from streams.events import Rejected
from streams.fetched import Record
from streams.patience import until_done
from streams.seldom import Seldom
from streams.shards import OwnedShard
from streams.topology import Topology

#: Dead letters under way at once: a flood of them waits for the broker, and holds no more memory than this.
AT_ONCE = 500


class DeadLetters:
    """The sender of one worker. A checkpoint waits for what it sent (`OwnedShard.unacknowledged`)."""

    def __init__(self, topology: Topology, counters: PipelineCounters, seldom: Seldom) -> None:
        self._topology, self._counters, self._seldom = topology, counters, seldom

    def post(self, producer: Any, owned: OwnedShard, record: Record, rejected: Rejected) -> None:
        """Begin to send one. Does not wait, so that no checkpoint can come between an event and its letter."""
        self._counters.count_rejected(rejected.reason)
        self._seldom.warn("rejected", "an event was rejected (%s: %s)", rejected.reason, rejected.detail)
        headers = [
            ("reason", rejected.reason.encode()),
            ("detail", rejected.detail.encode()),
            ("topic", self._topology.consumed.encode()),
            ("partition", str(owned.partition).encode()),
            ("offset", str(record.offset).encode()),
        ]
        # A tombstone without a key has neither key nor value; a producer takes only what has one of them.
        key = b"" if record.key is None and record.value is None else record.key

        async def attempt() -> None:
            await (await producer.send(self._topology.dead_letter, key, record.value, None, None, headers))

        owned.unacknowledged.append(asyncio.ensure_future(until_done("sending a dead letter", attempt)))

    async def wait_for_room(self, owned: OwnedShard) -> None:
        """Wait while too many are under way."""
        if len(owned.unacknowledged) >= AT_ONCE:
            await asyncio.wait(owned.unacknowledged)
            owned.unacknowledged = [task for task in owned.unacknowledged if not task.done()]
