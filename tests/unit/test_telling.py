"""What partitions tell of their minutes, and what is closed of it: no minute without anybody's part."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from monitor.minute_book import MinuteBook
from monitor.minutes import MINUTE_MS
from monitor.snapshot import ALL
from streams import told
from streams.ledger import Claim
from streams.pipeline import Pipeline
from streams.settings import parse_settings
from streams.shards import OwnedShard
from tests import product

KEYS: dict[str, Any] = {
    "goals": {"buy": {"kind": "macro", "match": {"event": "purchase"}}},
    "windows": ["1h"],
    "clock": "wall",
}
NOW = int(time.time() * 1000)
#: Minute 0 of all that follows; everything is over by the wall clock.
FIRST = NOW // MINUTE_MS - 20


def seen(second: float, visitor: str) -> dict[str, Any]:
    at = FIRST * MINUTE_MS + int(second * 1000)
    return {"event": "page_view", "visitor_id": visitor, "timestamp": at}


class Told:
    """Partitions of one worker that tell, and the book that listens."""

    def __init__(self, partitions: int, closed: int | None = None) -> None:
        self.pipeline = Pipeline(parse_settings(json.dumps(KEYS), {}))
        self.pipeline.ready = lambda: (True, [])  # type: ignore[method-assign]
        self.pipeline.shards.taken_at = 0.0
        self.pipeline._tell = self._tell  # type: ignore[assignment,method-assign]
        self.book = MinuteBook(partitions, 2, 30_000, None if closed is None else FIRST + closed)
        self.fed = [product.Partition(KEYS, int(time.time() * 1000) + 300_000) for _ in range(partitions)]
        writer: Any = SimpleNamespace(claim=Claim(1, "w"))
        ledger: Any = SimpleNamespace()
        self.owned = [OwnedShard(i, one.shard, writer, ledger, 0) for i, one in enumerate(self.fed)]

    async def _tell(self, key: bytes, value: bytes, headers: Mapping[str, int | None]) -> None:
        found = told.decode(value)
        self.book.put(int(key), found.passed_ms, found.counts.segments, found.minutes)

    async def say(self, partition: int, at: float, *events: dict[str, Any], idle: bool = False) -> None:
        """The partition counts events and tells; the common event time is that second."""
        owned = self.owned[partition]
        self.fed[partition].apply(events)
        owned.active_at = time.monotonic() - (60 if idle else 0)
        await self.pipeline._tell_counts(owned, FIRST * MINUTE_MS + int(at * 1000))

    def closed(self) -> dict[int, int]:
        """Minutes that are over now, and visitors of each."""
        return {minute - FIRST: int(total[ALL, ALL][0]) for minute, total in self.book.close()}


async def test_who_was_idle_and_goes_on_tells_what_is_over_for_the_others() -> None:
    told = Told(2, closed=-1)
    await told.say(0, 600, seen(10, "a1"), idle=True)  # has passed minute 9, as the others may have
    await told.say(1, 600, seen(10, "b1"))
    assert told.closed() == {}
    await told.say(0, 600, seen(301, "a2"))  # not late: it is the partition's latest
    await told.say(1, 600, seen(480, "b2"))
    assert told.closed() == {0: 2, 1: 0, 2: 0, 3: 0, 4: 0, 5: 1, 6: 0}


async def test_counting_begins_with_the_first_minute_of_any_partition() -> None:
    told = Told(2)
    await told.say(0, 661, seen(600, "a1"), seen(661, "a2"))
    assert told.closed() == {}
    await told.say(1, 661, seen(10, "b1"), seen(50, "b2"))  # its first minute still runs: nothing to tell
    assert told.closed() == {}
    await told.say(1, 661, *(seen(60 * m, f"b{m}") for m in range(1, 13)))
    assert told.closed() == dict.fromkeys(range(1, 10), 1)


async def test_a_clock_that_runs_ahead_closes_no_minute_that_still_runs() -> None:
    now = time.time() - FIRST * MINUTE_MS / 1000
    running = int(now // 60)
    told = Told(1, closed=running - 1)
    await told.say(0, now, seen(now, "right"), seen(now + 200, "ahead"))
    assert not {running + 1, running + 2} & told.closed().keys()


async def test_a_minute_that_runs_is_told_when_it_is_over() -> None:
    told = Told(1, closed=-1)
    await told.say(0, 30, seen(10, "a"), seen(30, "b"))
    assert told.owned[0].shard.minutes.untold == {FIRST}
    await told.say(0, 95, seen(95, "c"))
    assert told.closed() == {0: 2}
    assert told.owned[0].shard.minutes.untold == {FIRST + 1}
