"""The load of the benchmarks: encoded events of a shop's visitors, and filling a topic with them.

Lifelike means: about 280 bytes of JSON; `event_id`, `session_id` and the dimensions device, channel and
country on every event; visitors by a law of Zipf under which most come several times; carts, sign-ups and
purchases with an amount, a currency and a transaction id. `streams.burst` makes lighter events and knows no
sessions, so it would flatter us.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

PARTITIONS = 4
#: What visitors do, and how often of 100 events.
ACTIONS: Mapping[str, int] = {"page_view": 62, "view_item": 28, "add_to_cart": 6, "purchase": 2, "sign_up": 2}
#: Values of the dimensions; the first ones are the most frequent.
DEVICES = ("mobile",) * 6 + ("desktop",) * 3 + ("tablet",)
CHANNELS = ("organic", "organic", "paid", "direct", "email", "social")
COUNTRIES = ("DE", "DE", "DE", "AT", "CH", "FR", "NL", "PL", "IT", "ES", "GB", "US")
#: Of a record batch, as Kafka's own clients have it by default.
BATCH_BYTES = 16_384
#: Events made at one go.
_CHUNK = 50_000
#: Shares of the events of one visitor: rank r comes r^-0.8 as often as the first.
ZIPF = 0.8

Message = tuple[int, int, bytes, bytes]
"""Partition, event time (epoch ms), key, value."""


def partition_of(key: bytes) -> int:
    """Where Kafka's own clients put a key."""
    return int(murmur2(key) & 0x7FFFFFFF) % PARTITIONS


@dataclass
class Traffic:
    """Events of a number of visitors.

    Attributes:
        visitors: How many visitors there are.
        zipf: Exponent of Zipf's law; None: they come in turn, each as often as the others.
        seed: Of everything random, and part of every id.
        actions: Event name → how often.
        hot: Share of the events that go to partition 0, above the fourth that does anyway.
    """

    visitors: int
    zipf: float | None = ZIPF
    seed: int = 1
    actions: Mapping[str, int] = field(default_factory=lambda: ACTIONS)
    hot: float = 0.0

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._partition: npt.NDArray[np.int8] = np.full(self.visitors, -1, np.int8)
        ranks = np.arange(1, self.visitors + 1, dtype=np.float64)
        shares = np.cumsum(ranks ** -(self.zipf or 0.0))
        self._shares = shares / shares[-1]
        # A visitor's number says nothing about how often he comes.
        self._who_of_rank = np.random.default_rng(0).permutation(self.visitors)
        self.made = 0
        if self.hot:
            self._partition[:] = [partition_of(b"v-%08d" % visitor) for visitor in range(self.visitors)]
            self._at_hot = np.flatnonzero(self._partition == 0)

    def messages(self, times: npt.NDArray[np.int64]) -> Iterator[Message]:
        """One event at each of these times (epoch ms, rising)."""
        for first in range(0, len(times), _CHUNK):
            yield from self._chunk(times[first : first + _CHUNK])

    def _chunk(self, times: npt.NDArray[np.int64]) -> Iterator[Message]:
        n, first, random, seed = len(times), self.made, self._random, self.seed
        self.made += n
        if self.zipf is None:
            who = (np.arange(first, first + n) % self.visitors).tolist()
        else:
            ranks = np.searchsorted(self._shares, random.random(n), side="right")
            chosen = self._who_of_rank[ranks]
            if self.hot:
                chosen = np.where(random.random(n) < self.hot, random.choice(self._at_hot, n), chosen)
            who = chosen.tolist()
        shares = np.array(list(self.actions.values()), np.float64)
        names = list(self.actions)
        what = random.choice(len(names), size=n, p=shares / shares.sum()).tolist()
        cents = random.integers(500, 50_000, size=n).tolist()
        page = random.integers(0, 1_000, size=n).tolist()
        for i, (visitor, at) in enumerate(zip(who, times.tolist(), strict=True)):
            name, number = names[what[i]], first + i
            sale = ""
            if name == "purchase":
                sale = f',"value":"{cents[i] / 100:.2f}","currency":"EUR","transaction_id":"t{seed}-{number}"'
            value = (
                f'{{"event":"{name}","visitor_id":"v-{visitor:08d}","timestamp":{at},'
                f'"event_id":"{seed:08x}-0000-4000-8000-{number:012x}","session_id":"s-{visitor:08d}-1",'
                f'"page":"/kitchen/kettles-and-pots/{page[i]}.html","device":"{DEVICES[visitor % 10]}",'
                f'"channel":"{CHANNELS[visitor % 6]}","country":"{COUNTRIES[visitor % 12]}"{sale},'
                f'"producer":"web-shop/2.14.0"}}'
            )
            key = b"v-%08d" % visitor
            partition = self._partition[visitor]
            if partition < 0:
                partition = self._partition[visitor] = partition_of(key)
            yield int(partition), at, key, value.encode()


def spread(n: int, end_ms: int, span_s: float) -> npt.NDArray[np.int64]:
    """`n` event times, evenly over the span that ends at `end_ms`."""
    times: npt.NDArray[np.int64] = end_ms - ((n - 1 - np.arange(n)) * (span_s * 1000 / n)).astype(np.int64)
    return times


class Publisher:
    """Writes messages to a topic in record batches, faster than one `send` a message."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer, self._topic = producer, topic
        self._open = [producer.create_batch() for _ in range(PARTITIONS)]
        self._sent: list[asyncio.Future[object]] = []
        self.bytes = 0

    async def publish(self, messages: Iterable[Message]) -> None:
        """Take messages; full batches are sent."""
        for partition, at, key, value in messages:
            self.bytes += len(value)
            if self._open[partition].append(key=key, value=value, timestamp=at) is None:
                await self._send(partition)
                self._open[partition].append(key=key, value=value, timestamp=at)

    async def _send(self, partition: int) -> None:
        batch, self._open[partition] = self._open[partition], self._producer.create_batch()
        batch.close()
        self._sent.append(await self._producer.send_batch(batch, self._topic, partition=partition))
        if len(self._sent) >= 200:
            await self._acknowledged()

    async def flush(self) -> None:
        """Send what is held, without waiting for the broker."""
        for partition, batch in enumerate(self._open):
            if batch.record_count():
                await self._send(partition)

    async def _acknowledged(self) -> None:
        sent, self._sent = self._sent, []
        await asyncio.gather(*sent)

    async def finish(self) -> None:
        """Send what is held; returns when the broker has everything."""
        await self.flush()
        await self._acknowledged()


@asynccontextmanager
async def publishing(bootstrap: str, topic: str) -> AsyncIterator[Publisher]:
    """A publisher to a topic; at the end the broker has everything."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=BATCH_BYTES, acks=1)
    await producer.start()
    try:
        publisher = Publisher(producer, topic)
        yield publisher
        await publisher.finish()
    finally:
        await producer.stop()


async def fill(bootstrap: str, topic: str, messages: Iterable[Message]) -> int:
    """Write all messages; how many bytes their values have."""
    async with publishing(bootstrap, topic) as publisher:
        await publisher.publish(messages)
    return publisher.bytes
