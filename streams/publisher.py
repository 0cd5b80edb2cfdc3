"""Publishing files: rows are read, mapped to events and sent, keyed by visitor, at the wanted pace."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.errors import BrokerError
from streams.mapping import Mapped, Mapper
from streams.rows import MAX_BAD_KEPT, Bad
from streams.sources import Source, read_ahead

#: The producer collects messages for this long, in ms: one batch for many messages.
LINGER_MS = 10
#: Bytes of a batch; the default of 16 KiB makes many small ones when a file is read at full speed.
BATCH_BYTES = 128 * 1024


@dataclass
class Report:
    """What was done.

    Attributes:
        rows: Rows read.
        published: Events delivered.
        bad: Rows that could not be mapped.
        sent_bad: How many of these were delivered as they are (`--send-bad`).
        failed: Rows and events that the broker did not take.
        seconds: From the first row to the last acknowledgement.
        first_ms: Earliest event time published, epoch ms.
        last_ms: Latest event time published, epoch ms.
        bad_rows: The first `MAX_BAD_KEPT` of `bad` and `failed`.
    """

    rows: int = 0
    published: int = 0
    bad: int = 0
    sent_bad: int = 0
    failed: int = 0
    seconds: float = 0.0
    first_ms: int | None = None
    last_ms: int | None = None
    bad_rows: list[Bad] = field(default_factory=list)

    def complete(self) -> bool:
        """Whether every row is in the topic."""
        return self.failed == 0 and self.bad == self.sent_bad


class Pacer:
    """When each event is due.

    Args:
        rate: Events a second; None = no limit.
        speedup: The gaps between event times, this many times shorter; None = without gaps.
    """

    def __init__(self, rate: float | None = None, speedup: float | None = None) -> None:
        self._rate = rate
        self._speedup = speedup
        self._sent = 0
        self._first_ms: int | None = None

    def due_s(self, time_ms: int) -> float:
        """Seconds after the start at which the next event, of this event time, is to be sent."""
        due = 0.0
        if self._rate is not None:
            due = self._sent / self._rate
        if self._speedup is not None:
            if self._first_ms is None:
                self._first_ms = time_ms
            due = max(due, (time_ms - self._first_ms) / 1000 / self._speedup)
        self._sent += 1
        return due


class Publisher:
    """Sends the rows of files into a topic.

    Args:
        topic: Where to; must exist.
        mapper: How rows become events.
        pacer: When they are sent.
        send_bad: Whether a row that cannot be mapped is sent as it is, without a key.
        on_bad: Told about every bad row as it comes.
        on_progress: Told about the bytes done of all files, now and then.
    """

    def __init__(
        self,
        topic: str,
        mapper: Mapper,
        pacer: Pacer | None = None,
        *,
        send_bad: bool = False,
        on_bad: Callable[[Bad], None] = lambda _: None,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._topic = topic
        self._mapper = mapper
        self._pacer = pacer or Pacer()
        self._send_bad = send_bad
        self._on_bad = on_bad
        self._on_progress = on_progress
        self.report = Report()

    async def publish(self, bootstrap: str, sources: Sequence[Source], **client_kwargs: Any) -> Report:
        """Publishes all sources, one after the other, and returns when everything is acknowledged.

        Raises:
            BrokerError: The broker cannot be reached, or was lost for longer than the client's patience.
        """
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            linger_ms=LINGER_MS,
            max_batch_size=BATCH_BYTES,
            **client_kwargs,
        )
        started = time.monotonic()
        try:
            await producer.start()
            try:
                done = 0
                for source in sources:
                    done = await self._publish_one(producer, source, started, done)
            finally:
                await producer.stop()  # waits for what is under way
        except KafkaError as error:
            sent = f"{self.report.published:,} events were delivered before"
            msg = f"publishing to {self._topic} on {bootstrap} failed: {error}; {sent}"
            raise BrokerError(msg) from error
        self.report.seconds = time.monotonic() - started
        return self.report

    async def _publish_one(
        self, producer: AIOKafkaProducer, source: Source, started: float, done: int
    ) -> int:
        mapper = self._mapper
        if mapper.id_prefix is not None:
            mapper = replace(mapper, id_prefix=source.id_prefix)
        end = 0
        async for row in read_ahead(source):
            mapped = mapper.map(row)
            end = row.end
            self.report.rows += 1
            if isinstance(mapped, str):
                self._note_bad(Bad(source.name, row.line, mapped))
                self.report.bad += 1
                if self._send_bad:
                    await self._send(producer, source, row.line, row.raw, None)
                continue
            wait = self._pacer.due_s(mapped.time_ms) - (time.monotonic() - started)
            if wait > 0:
                await asyncio.sleep(wait)
            self._note_time(mapped)
            await self._send(producer, source, row.line, mapped.value, mapped.key)
            if self.report.rows % 200 == 0:
                self._on_progress(done + end)
        self._on_progress(done + end)
        return done + end

    async def _send(
        self, producer: AIOKafkaProducer, source: Source, line: int, value: bytes, key: bytes | None
    ) -> None:
        try:
            sent = await producer.send(self._topic, value, key=key)
        except KafkaError as error:  # too large for the client, or no room for it in time
            self._failed(Bad(source.name, line, f"not delivered: {error}"))
            return
        sent.add_done_callback(functools.partial(self._delivered, source.name, line, key is None))

    def _delivered(self, name: str, line: int, was_bad: bool, sent: asyncio.Future[Any]) -> None:
        if sent.cancelled() or (error := sent.exception()) is not None:
            reason = "cancelled" if sent.cancelled() else str(error)
            self._failed(Bad(name, line, f"not delivered: {reason}"))
        elif was_bad:
            self.report.sent_bad += 1
        else:
            self.report.published += 1

    def _failed(self, bad: Bad) -> None:
        self.report.failed += 1
        self._note_bad(bad)

    def _note_bad(self, bad: Bad) -> None:
        if len(self.report.bad_rows) < MAX_BAD_KEPT:
            self.report.bad_rows.append(bad)
        self._on_bad(bad)

    def _note_time(self, mapped: Mapped) -> None:
        report = self.report
        if report.first_ms is None or mapped.time_ms < report.first_ms:
            report.first_ms = mapped.time_ms
        if report.last_ms is None or mapped.time_ms > report.last_ms:
            report.last_ms = mapped.time_ms
