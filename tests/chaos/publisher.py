"""The load: a flow of events, published from a thread at a rate that can be changed, each message exactly once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import Self

from aiokafka import AIOKafkaProducer

from tests.flow import Flow
from tests.murmur2 import partition_of

#: Longer than any outage of a broker here, milliseconds.
PATIENCE_MS = 240_000
TICK_S = 0.02


class PublisherError(Exception):
    """The load itself failed; says nothing about the product."""


class Publisher:
    """Publishes a flow in its order, with what else it is given in between; use as a context.

    Its producer is idempotent: what it sends again after a broker was killed is stored once.

    Args:
        flow: The events.
        bootstrap: Where to, not through any network of the workers.
        topic: It exists.
        partitions: Of the topic.
    """

    def __init__(self, flow: Flow, bootstrap: str, topic: str, partitions: int) -> None:
        self._bootstrap, self._topic, self._partitions = bootstrap, topic, partitions
        self._messages = flow.messages()
        self.left = len(flow.sent)
        #: Messages of the flow sent so far.
        self.sent = 0
        #: Messages in each partition, of whatever kind.
        self.ends = dict.fromkeys(range(partitions), 0)
        #: Events a second; 0 = pause.
        self.rate = 0.0
        self._burst = 0
        #: What else to send: partition, key, value.
        self._extra: deque[tuple[int, bytes | None, bytes | None]] = deque()
        self._idle = threading.Event()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def insert(self, partition: int, key: bytes | None, value: bytes | None) -> None:
        """Send this too, soon."""
        self._idle.clear()
        self._extra.append((partition, key, value))

    def burst(self, messages: int) -> None:
        """Send so many of the flow at once; returns when the broker has them."""
        self._idle.clear()
        self._burst += messages
        self._wait()

    def pause(self) -> None:
        """Send no more; returns when the broker has everything."""
        self.rate = 0.0
        self._idle.clear()
        self._wait()

    def _wait(self) -> None:
        if not self._idle.wait(PATIENCE_MS / 1000) and self._failure is None:
            msg = "the broker did not take the events"
            raise PublisherError(msg)
        if self._failure is not None:
            msg = f"publishing failed: {self._failure!r}"
            raise PublisherError(msg) from self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._publish())
        except BaseException as error:
            self._failure = error
        self._idle.set()

    async def _publish(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            enable_idempotence=True,
            linger_ms=10,
            max_batch_size=1 << 18,
            max_request_size=16 << 20,
            request_timeout_ms=PATIENCE_MS,
        )
        await producer.start()
        try:
            owed, before = 0.0, time.monotonic()
            while not self._stop.is_set():
                idle = not (self.rate or self._burst or self._extra)
                if idle and not self._idle.is_set():
                    await producer.flush()
                    if not (self.rate or self._burst or self._extra):
                        self._idle.set()
                await asyncio.sleep(TICK_S)
                now = time.monotonic()
                # What could not be sent during an outage is not made up for at once.
                owed = min(owed + self.rate * (now - before), self.rate)
                before = now
                number, burst = int(owed) + self._burst, self._burst
                owed -= int(owed)
                await self._send(producer, number)
                self._burst -= burst
        finally:
            await asyncio.wait_for(producer.stop(), 5)

    async def _send(self, producer: AIOKafkaProducer, number: int) -> None:
        for key, value in (message for _, message in zip(range(number), self._messages, strict=False)):
            partition = partition_of(key.decode(), self._partitions)
            await producer.send(self._topic, value, key, partition)
            self.ends[partition] += 1
            self.sent += 1
            self.left -= 1
        while self._extra:
            place, bad_key, bad_value = self._extra[0]
            await producer.send(self._topic, bad_value, bad_key, place)
            self.ends[place] += 1
            self._extra.popleft()
