"""The network between workers and the broker: a TCP proxy on loopback for each worker, which can be cut.

A `Link` reads what the worker sends as Kafka requests (length, API key, body), so a trap can strike at the
very request that matters: just before it reaches the broker, when half of it is there, or just after.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, Self

#: API keys of Kafka's protocol.
PRODUCE, FETCH, OFFSET_COMMIT, JOIN_GROUP, SYNC_GROUP = 0, 1, 8, 11, 14

#: `open`: all passes. `refused`: connections end at once. `stalled`: they stand and nothing passes. `deaf`:
#: the worker gets no answers, the broker gets its requests. `mute`: the broker gets none.
Mode = Literal["open", "refused", "stalled", "deaf", "mute"]
#: When a trap strikes: before the request passes (it is lost), at its half (the rest is lost), after it has
#: passed, or `hold`: the request is kept until `Link.release`, and passes then.
When = Literal["before", "half", "after", "hold"]


@dataclass
class Trap:
    """Waits for a request of a worker.

    Attributes:
        api: Its API key.
        about: Bytes that it must hold, such as the name of a topic.
        when: When to strike.
        strike: What to do; called in the network's thread.
        sprung: Set once it has struck.
    """

    api: int
    about: bytes
    when: When
    strike: Callable[[], None]
    sprung: threading.Event = field(default_factory=threading.Event)

    def fits(self, request: bytes) -> bool:
        return int.from_bytes(request[:2]) == self.api and self.about in request


class Link:
    """The way from one worker to the broker; all methods may be called from any thread.

    Args:
        loop: Where it runs.
        port: On 127.0.0.1, of the worker's side.
        broker_port: Of the broker's listener for it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int, broker_port: int) -> None:
        self.port, self._broker_port, self._loop = port, broker_port, loop
        self.mode: Mode = "open"
        #: Longest delay of anything that passes, seconds; each piece waits a random part of it.
        self.delay_s = 0.0
        self.trap: Trap | None = None
        self._held = asyncio.Event()
        self._held.set()
        self._writers: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._rng = random.Random(port)

    def release(self) -> None:
        """Let the request pass that a trap holds."""
        self._loop.call_soon_threadsafe(self._held.set)

    def heal(self) -> None:
        """All passes again."""
        self.trap = None
        self.mode, self.delay_s = "open", 0.0
        self.release()

    def drop(self) -> None:
        """End all connections, as a firewall that resets them."""

        def now() -> None:
            for pair in self._writers:
                for writer in pair:
                    writer.transport.abort()

        self._loop.call_soon_threadsafe(now)

    def half_close(self) -> None:
        """Say goodbye to the worker on all connections, and not to the broker."""

        def now() -> None:
            for worker, _ in self._writers:
                if not worker.is_closing():
                    worker.write_eof()

        self._loop.call_soon_threadsafe(now)

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "refused":
            writer.transport.abort()
            return
        try:
            from_broker, to_broker = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, to_broker)
        self._writers.add(pair)
        requests = asyncio.ensure_future(self._requests(reader, to_broker))
        answers = asyncio.ensure_future(self._answers(from_broker, writer))
        try:
            await asyncio.wait({requests, answers}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (requests, answers):
                task.cancel()
            await asyncio.gather(requests, answers, return_exceptions=True)
            self._writers.discard(pair)
            for one in pair:
                one.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(4)
                body = await reader.readexactly(int.from_bytes(head))
                await self._gate("stalled", "mute")
                trap = self.trap
                if trap is None or not trap.fits(body):
                    writer.write(head + body)
                    await writer.drain()
                    continue
                self.trap = None
                if not await self._spring(trap, writer, head + body):
                    return

    async def _spring(self, trap: Trap, writer: asyncio.StreamWriter, request: bytes) -> bool:
        """Strike; whether the connection goes on."""
        passes = {"before": b"", "half": request[: len(request) // 2], "after": request, "hold": b""}
        writer.write(passes[trap.when])
        await writer.drain()
        if trap.when == "hold":
            self._held.clear()
        trap.strike()
        trap.sprung.set()
        if trap.when != "hold":
            return trap.when == "after"
        await self._held.wait()
        writer.write(request)
        await writer.drain()
        return True

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._gate("stalled", "deaf")
                writer.write(data)
                await writer.drain()

    async def _gate(self, *closed: Mode) -> None:
        if self.delay_s:
            await asyncio.sleep(self._rng.uniform(0, self.delay_s))
        while self.mode in closed:
            await asyncio.sleep(0.02)


class Network:
    """All links, in a thread of their own; use as a context.

    Args:
        ports: Of each link: the worker's side, the broker's listener.
    """

    def __init__(self, ports: list[tuple[int, int]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self.links = [Link(self._loop, port, broker) for port, broker in ports]
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._servers = [self._do(link.serve()) for link in self.links]
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _close(self) -> None:
        # The server would report each connection that is cut off here.
        self._loop.set_exception_handler(lambda *_: None)
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
