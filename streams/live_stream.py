"""Snapshots to open pages: one payload per window and snapshot, rendered once, shared by all who look.

Without a page open, a look every few seconds keeps the history, and nothing else is done.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Callable

import orjson

from monitor.history import History
from monitor.live.view import live_view
from monitor.rules import Rules
from monitor.snapshot import Snapshot

#: Seconds between two looks at the current snapshot: as often as a page changes.
TICK_S = 1.0

#: Ticks between two looks while no page is open: the history alone needs no more.
IDLE_TICKS = 5

#: Seconds without news after which a stream says that it is alive, so that a dead connection is found.
HEARTBEAT_S = 15.0

_HEARTBEAT = b"event: beat\ndata: {}\n\n"

_log = logging.getLogger(__name__)


class LiveStream:
    """Follows the current snapshot, keeps its history, and wakes the open streams.

    Args:
        rules: Windows and goals.
        snapshot: Returns the current snapshot, or None when this worker does not hold the totals.
        tick_s: Seconds between two looks.
        heartbeat_s: Seconds without news until a sign of life.
    """

    def __init__(
        self,
        rules: Rules,
        snapshot: Callable[[], Snapshot | None],
        *,
        tick_s: float = TICK_S,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.history = History(rules)
        self.open_streams = 0
        self._rules = rules
        self._snapshot = snapshot
        self._tick_s = tick_s
        self._heartbeat_s = heartbeat_s
        self._seen: Snapshot | None = None
        self._news = asyncio.Event()
        self._closed = False
        self._payloads: dict[str, bytes] = {}

    async def run(self) -> None:
        """Look every tick, more seldom while nobody watches; a snapshot that cannot be shown is logged."""
        for tick in itertools.count():
            try:
                if self.open_streams or tick % IDLE_TICKS == 0:
                    self.look()
            except Exception:
                _log.exception("live page: a snapshot cannot be shown")
            await asyncio.sleep(self._tick_s)

    def look(self) -> None:
        """Take the current snapshot: into the history, and to the open streams if it is a new one."""
        snapshot = self._snapshot()
        if snapshot is self._seen:
            return
        self._seen = snapshot
        self._payloads.clear()
        if snapshot is not None:
            self.history.record(snapshot)
        self._wake()

    def close(self) -> None:
        """End all streams, so that the server can stop at once."""
        self._closed = True
        self._wake()

    def payload(self, window: str) -> bytes | None:
        """The view of a window as of the last look, as JSON; None when this worker does not hold the totals.

        Raises:
            ValueError: No such window.
        """
        if self._seen is None:
            return None
        payload = self._payloads.get(window)
        if payload is None:
            view = live_view(self._seen, self._rules, self.history, window)
            payload = self._payloads[window] = orjson.dumps(view)
        return payload

    async def events(self, window: str) -> AsyncGenerator[bytes]:
        """Server-sent events of a window: `view` with news, `beat` without, `moved` as the last one.

        A reader who is slow gets the newest view when he is back, not all in between.
        """
        self.open_streams += 1
        try:
            self.look()
            while not self._closed:
                news = self._news
                payload = self.payload(window)
                if payload is None:
                    yield b"event: moved\ndata: {}\n\n"
                    return
                yield b"event: view\ndata: " + payload + b"\n\n"
                while not news.is_set():
                    try:
                        async with asyncio.timeout(self._heartbeat_s):
                            await news.wait()
                    except TimeoutError:
                        yield _HEARTBEAT
        finally:
            self.open_streams -= 1

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
