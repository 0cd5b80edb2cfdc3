"""What every worker must know of the others: how far event time is, and who holds the totals.

Read from the counts topic without a consumer group. Each message carries the watermark of its partition and how far it has
counted as headers, so nothing is decoded here; the furthest message of each is kept for a worker that takes the totals
over. Their holder announces itself under the key `owner`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams.connection import reader
from streams.offsets import end_offsets
from streams.patience import PASSING

log = logging.getLogger(__name__)

#: Key of the message by which the holder of the totals announces its URL.
OWNER_KEY = b"owner"
#: Header with a partition's watermark, epoch ms in decimal digits.
WATERMARK_HEADER = "watermark"
#: Header with the offset up to which a partition has counted, in decimal digits.
OFFSET_HEADER = "offset"
#: How far back from the end reading begins: enough for an announcement of every partition.
_TAIL = 2_000
#: Messages come from every partition four times a second; each by itself would cost every worker a fetch.
_FETCH_MIN_BYTES = 1 << 20
_FETCH_MAX_WAIT_MS = 500
#: Longest wait for the end of the topic, seconds.
_CATCH_UP_S = 5.0


class Holder(msgspec.Struct, frozen=True):
    """What the holder of the totals announces.

    Attributes:
        url: Where it answers.
        since: Wall clock (epoch seconds) at which it took over; tells one holder from the next.
        judged_minute: The last minute (of the epoch) that is judged and saved.
    """

    url: str
    since: float
    judged_minute: int | None


class Board:
    """Watermark over all partitions and URL of the totals, as read so far."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self.watermark_ms: int | None = None
        self.totals_url: str | None = None
        #: The last minute (of the epoch) that is judged and saved; None while that is not known.
        self.judged_minute: int | None = None
        #: Wall clock (epoch seconds) at which the holder took over.
        self.since: float | None = None
        self._furthest: dict[int, tuple[int, bytes]] = {}
        #: Counts up with each change of the holder: whoever tells it things must tell them again.
        self.holders = 0
        self._read_to = 0
        #: When (monotonic, seconds) anything was heard last.
        self.heard_at = time.monotonic()

    def see(self, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """Take in one message of the counts topic."""
        if key == OWNER_KEY:
            if value is not None:
                holder = msgspec.json.decode(value, type=Holder)
                if self.since is not None and holder.since < self.since:
                    return  # one that was paused and does not know yet that another has taken over
                self.judged_minute = holder.judged_minute
                if holder.url != self.totals_url or holder.since != self.since:
                    self.totals_url, self.since = holder.url, holder.since
                    self.holders += 1
            return
        for name, text in headers:
            if name == WATERMARK_HEADER and text:
                self.advance(int(text))
            if (
                name == OFFSET_HEADER
                and key
                and value
                and int(text) >= self._furthest.get(int(key), (0, b""))[0]
            ):
                self._furthest[int(key)] = int(text), value

    def furthest(self) -> dict[int, bytes]:
        """Of each partition the message that goes furthest, whoever told it: the last one may be of who reads again."""
        return {partition: value for partition, (_, value) in self._furthest.items()}

    def advance(self, watermark_ms: int | None) -> None:
        """Event time is at least this far."""
        if watermark_ms is not None and (self.watermark_ms is None or watermark_ms > self.watermark_ms):
            self.watermark_ms = watermark_ms

    async def follow(self, bootstrap: str, client_kwargs: Mapping[str, Any]) -> None:
        """Read until cancelled; starts over when the broker goes away."""
        while True:
            try:
                await self._follow(bootstrap, client_kwargs)
            except (KafkaError, OSError) as error:
                log.warning("reading %s failed (%s); trying again in 1 s", self._topic, error)
            await asyncio.sleep(1)

    async def catch_up(self, bootstrap: str, client_kwargs: Mapping[str, Any]) -> None:
        """Read all that stands in the topic now, whether `follow` runs or not yet; but not for ever."""
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                end = await self._end(bootstrap, client_kwargs)
                if self._read_to >= end:
                    return
                async with self._reader(end, bootstrap, client_kwargs) as read:
                    while self._read_to < end:
                        await read()
        except PASSING as error:
            log.debug("%s was not read to its end (%r)", self._topic, error)

    async def _follow(self, bootstrap: str, client_kwargs: Mapping[str, Any]) -> None:
        end = await self._end(bootstrap, client_kwargs)
        async with self._reader(end, bootstrap, client_kwargs) as read:
            while True:
                await read()

    async def _end(self, bootstrap: str, client_kwargs: Mapping[str, Any]) -> int:
        tp = TopicPartition(self._topic, 0)
        return (await end_offsets(bootstrap, [tp], **client_kwargs))[tp]

    @asynccontextmanager
    async def _reader(
        self, end: int, bootstrap: str, client_kwargs: Mapping[str, Any]
    ) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """A function that takes in what has come."""
        tp = TopicPartition(self._topic, 0)
        sizes = {"fetch_min_bytes": _FETCH_MIN_BYTES, "fetch_max_wait_ms": _FETCH_MAX_WAIT_MS}
        async with reader(bootstrap, client_kwargs, **sizes) as consumer:

            async def read() -> None:
                for records in (await consumer.getmany(tp, timeout_ms=1_000)).values():
                    self.heard_at = time.monotonic()
                    for record in records:
                        self.see(record.key, record.value, list(record.headers))
                self._read_to = max(self._read_to, await consumer.position(tp))

            consumer.assign([tp])
            consumer.seek(tp, max(self._read_to, end - _TAIL))
            yield read
