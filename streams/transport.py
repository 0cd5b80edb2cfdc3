"""Delivers a topic a batch at a time, on top of Faust's aiokafka driver.

What one fetch brought for one partition becomes one Faust message: value None, the records in `BatchMessage.batch`. The
stock path costs 90 µs an event, and even a plain aiokafka consumer spends half its time on one Python object a record;
here the compiled record batches are handed on as they are. Topics that are not named as batched keep the stock path.

Faust finds this module by its entry point (`faust.transports`, name `batch`): broker URL `batch://host:port`. What else
differs from the stock driver, and why:

* topics are never declared from here: `streams.topology` made them before the app started;
* the consumer's group coordinator is a `Membership`, and Faust reads no changelog through it (`streams.recovery`);
* a fetch waits for 3 MiB, but at most 250 ms, not 1500: one idle topic must not stall the busy ones;
* a full buffer waits instead of pausing partitions: Faust sleeps for a second when all are paused, and forgets one whose
  queue is emptied by a rebalance;
* after the committed offsets were sought, `app.batches.seek` moves batched partitions to where their state is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage

from streams.fetched import Batch, RecordBatch
from streams.membership import Membership

#: Where Faust's own lines about starting and stopping of services go.
_FRAMEWORK = logging.getLogger("faust")
#: Longest wait of the broker for a Fetch without enough data, milliseconds.
FETCH_MAX_WAIT_MS = 250
#: A Fetch that has less is held back until then: a batch of a few events costs as much as one of a thousand.
FETCH_MIN_BYTES = 3 << 20


class BatchMessage(ConsumerMessage):  # type: ignore[misc]
    """A Faust message that carries a batch; its offset is the last one that the batch covers."""

    batch: Batch


class BatchFetcher(Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher that gives batched topics a `Batch` instead of a list of records."""

    batched: frozenset[str]
    #: Whether Faust takes messages now: what it is given at another time is lost.
    flows: Callable[[], bool] = staticmethod(lambda: True)

    async def fetched_records(
        self, partitions: Any, timeout: float = 0, max_records: int | None = None
    ) -> dict[TP, list[Any]]:
        """What was fetched: partition → records, or → one `Batch`. Waits up to `timeout` seconds for something.

        Args:
            partitions: Of these alone; None: of all. None of them is not all of them, as it is for aiokafka: Faust throws
                away what it did not ask for, and reads on behind it.
            timeout: Seconds.
            max_records: Most records of a partition that is not batched.
        """
        deadline = time.monotonic() + timeout
        while self.flows():
            left = deadline - time.monotonic()
            if self._subscriptions.reassignment_in_progress:
                # No longer than asked for: only two calls at once find room in this thread.
                await asyncio.wait([self._subscriptions.wait_for_assignment()], timeout=max(left, 0.0))
                break
            drained = self._drain(partitions, max_records)
            if drained or left <= 0:
                return drained
            waiter = self._create_fetch_waiter()
            done, pending = await asyncio.wait([waiter], timeout=left)
            if not done or self._closed:
                for future in pending:
                    future.cancel()
                break
            waiter.result()  # raises authorization errors
        return {}

    def _drain(self, partitions: Any, max_records: int | None) -> dict[TP, list[Any]]:
        """What is there now; arguments as in `fetched_records`."""
        drained: dict[TP, list[Any]] = {}
        for tp in list(self._records):
            if partitions is not None and tp not in partitions:
                if not self._subscriptions.is_assigned(tp):
                    self._records.pop(tp, None)
                continue
            result = self._records[tp]
            if not isinstance(result, FetchResult):
                if drained:
                    break  # the error is raised on the next call
                self._records.pop(tp, None)
                self._notify(self._wait_consume_future)
                result.check_raise()
                continue
            records = self._fold(tp, result) if tp.topic in self.batched else result.getall(max_records)
            if not result.has_more():
                self._records.pop(tp, None)
                self._notify(self._wait_consume_future)
            if records:
                drained[tp] = records
        return drained

    def _fold(self, tp: TP, result: FetchResult) -> list[Batch]:
        """The records of a fetch as one batch; empty if the fetch is out of date (a seek, a rebalance)."""
        if not result.has_more() or not result.check_assignment(tp):
            return []
        unread = result._partition_records
        start = unread.next_fetch_offset
        folded: list[RecordBatch] = []
        compiled = unread._records
        while compiled.has_next():
            stored = compiled.next_batch()
            if unread._check_crcs and not stored.validate_crc():
                msg = (
                    f"a record batch of {tp.topic}-{tp.partition} is damaged (CRC): look at the broker's disk"
                )
                raise OSError(msg)
            if not _skipped(unread, stored):
                folded.append(iter(stored))  # which decompresses them, here in the consumer's thread
            unread.next_fetch_offset = stored.next_offset
        unread._records_iterator = (
            None  # it refers back: the fetched bytes would stay until cycles are looked for
        )
        result._update_position()
        result._partition_records = None
        state = self._subscriptions.subscription.assignment.state_value(tp)
        end = unread.next_fetch_offset
        return [Batch(tp.topic, tp.partition, folded, start, end, state.highwater)] if end > start else []


def _skipped(unread: Any, stored: Any) -> bool:
    """Whether these records must not count: a transaction's end, or written by one that was aborted."""
    if unread._aborted_transactions or unread._aborted_producers:
        unread._consume_aborted_up_to(stored.base_offset)
        if stored.is_control_batch and unread._contains_abort_marker(stored):
            unread._aborted_producers.discard(stored.producer_id)  # his next transaction may be committed
    aborted = stored.is_transactional and stored.producer_id in unread._aborted_producers
    return bool(stored.is_control_batch or aborted)


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread in which aiokafka's consumer runs."""

    logger = _FRAMEWORK

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        consumer._fetch_min_bytes = FETCH_MIN_BYTES
        consumer._isolation_level = "read_committed"
        return consumer

    async def on_start(self) -> None:
        """Start the consumer, with the fetcher that knows batches."""
        await super().on_start()
        fetcher = self._consumer._fetcher
        fetcher.__class__ = BatchFetcher
        fetcher.batched = self.app.batches.topics
        fetcher.flows = lambda: self.consumer.flow_active
        self._consumer._coordinator.__class__ = Membership


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, for batched and other topics."""

    logger = _FRAMEWORK

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if not isinstance(record, Batch):
            return super()._to_message(tp, record)
        message = BatchMessage(
            record.topic,
            record.partition,
            record.end - 1,
            0.0,
            0,
            [],
            None,
            None,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )
        message.batch = record
        return message

    async def perform_seek(self) -> None:
        """Nothing: Faust would seek whenever it was given something at a wrong time, and so against a recovery's seek."""

    async def seek_all(self) -> None:
        """Seek to the committed offsets, and batched partitions to where their state is.

        Raises:
            IllegalStateError: A partition was taken away meanwhile.
        """
        await super().perform_seek()
        await self.app.batches.seek(self)

    async def _seek(self, partition: TP, offset: int) -> None:
        """Seek in the consumer's own thread: it may be reading what was fetched at this moment."""
        await self._thread.call_thread(self._thread._ensure_consumer().seek, partition, offset)

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: the full queue itself makes the fetcher wait.

        Faust would leave the partition out until its agent takes the next message, and for ever if the queue is emptied
        before that, as in each rebalance.
        """

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Nothing: all topics exist before the app starts."""

    async def commit_batches(self, offsets: Mapping[TP, int]) -> bool:
        """Commit these offsets (next to read) of batched partitions that are still assigned."""
        assigned = self.assignment()
        wanted = {tp: offset for tp, offset in offsets.items() if tp in assigned}
        return bool(await self._commit(wanted)) if wanted else False


class Producer(driver.Producer):  # type: ignore[misc]
    """Faust's producer; it makes no topics."""

    logger = _FRAMEWORK

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Nothing: all topics exist before the app starts."""


class Transport(driver.Transport):  # type: ignore[misc]
    """What `batch://` stands for."""

    Consumer = Consumer
    Producer = Producer

    def __init__(self, url: Any, app: AppT, **kwargs: Any) -> None:
        super().__init__(cast("list[Any]", url), app, **kwargs)
