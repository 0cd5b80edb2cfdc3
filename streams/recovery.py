"""What a worker does between the assignment of partitions and the first message: it reads back itself what it needs.

Faust reads its tables back through the consumer that reads events, too: it stops its flow of messages, seeks, and lets it
go on. In a rebalance during a rebalance what was fetched too early is thrown away, and what is then waited for never
comes; and its recovery ends for good when one step takes 30 s or is cancelled. Each time the worker keeps its partitions
and counts nothing, without a word.

Here the changelogs are not subscribed to; whoever needs one reads it by a reader of its own (`streams.log_reader`), and
tries again until it is read. Messages stand still from the moment when partitions are revoked until all is in its place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import IllegalStateError
from faust.tables import TableManager
from mode import Service

from streams.log_reader import read_log

log = logging.getLogger(__name__)
#: Where Faust's own lines about starting and stopping of services go.
_FRAMEWORK = logging.getLogger("faust")


class Recovery(Service):  # type: ignore[misc]
    """Gets a worker from an assignment of partitions to counting them; a new assignment ends the work for the one before.

    Args:
        app: The Faust app; its `recovered` is what there is to do.

    Attributes:
        done: Whether messages flow.
        completed: Set once they did.
    """

    logger = _FRAMEWORK

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._app = app
        self.done = False
        self.completed = asyncio.Event()
        self._assigned = asyncio.Event()
        self._work: asyncio.Future[None] | None = None

    def on_partitions_revoked(self, _revoked: Any) -> None:
        """Partitions are about to change: what was begun for those of now is of no use any more."""
        self.done = False
        self._assigned.clear()
        if self._work is not None:
            self._work.cancel()
            self._work = None

    async def on_rebalance(self, *_: Any) -> None:
        """Partitions are assigned; Faust waits for the end of this call before it sends its next heartbeat."""
        self.on_partitions_revoked(None)
        self._assigned.set()

    @Service.task  # type: ignore[untyped-decorator]
    async def _recoveries(self) -> None:
        while not await self.wait_for_stopped(self._assigned):
            self._assigned.clear()
            work = self._work = asyncio.ensure_future(self._recover())
            try:
                await asyncio.wait({work})
            finally:
                work.cancel()
            if not work.cancelled():
                work.result()
            elif self._work is work:  # by nobody here
                log.warning("what is done after a rebalance was broken off; it begins again")
                self._assigned.set()

    async def _recover(self) -> None:
        app, consumer = self._app, self._app.consumer
        rebalance = app.rebalancing_count
        consumer.stop_flow()
        app.flow_control.suspend()
        await app.recovered()
        if consumer.assignment():
            try:
                await consumer.seek_all()
            except IllegalStateError:
                return  # a partition was taken away meanwhile: the next assignment is on its way
        if app.rebalancing_count != rebalance:
            return
        # Nothing may be waited for in here: what is fetched after a seek must not find the flow standing still.
        consumer.resume_partitions(consumer.assignment())
        app.flow_control.resume()
        consumer.resume_flow()
        self.done = True
        app.tables.on_actives_ready()
        app.tables.on_standbys_ready()
        app.on_rebalance_end()
        self.completed.set()
        await app._fetcher.maybe_start()


class Tables(TableManager):  # type: ignore[misc]
    """Faust's tables, whose changelogs are written and not subscribed to."""

    logger = _FRAMEWORK

    @property
    def recovery(self) -> Recovery:
        """What makes a worker ready."""
        found: Recovery | None = self.__dict__.get("_recovery")
        if found is None:
            found = self._recovery = Recovery(self.app, beacon=self.beacon, loop=self.loop)
        return found

    async def on_start(self) -> None:
        """Begin at once; Faust waits a second for tables that are made by agents."""
        await self._update_channels()
        await self.recovery.start()

    async def _update_channels(self) -> None:
        self._tables_finalized.set()
        for table in self.values():
            await table.maybe_start()
        self._tables_registered.set()


async def restore(table: Any, bootstrap: str, client_kwargs: Mapping[str, Any]) -> dict[bytes, bytes]:
    """What a table's changelog says now; the table has it then, too.

    Args:
        table: A Faust table of one partition, with keys and values of bytes.
        bootstrap: `host:port`, several separated by commas.
        client_kwargs: Further arguments of the aiokafka client (security).

    Raises:
        BrokerError: No broker there.
    """
    rows: dict[bytes, bytes] = {}
    topic = table.changelog_topic.get_topic_name()
    async for _, key, value in read_log(bootstrap, topic, 0, 0, client_kwargs):
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
    table.data.clear()
    table.data.update(rows)
    return rows
