"""What a worker does with a batch, and with each tick of its clock: wiring of core, Kafka and HTTP.

Longer than 300 lines because both stages of one worker, and what HTTP asks of them, share one state.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from monitor.counters import PipelineCounters
from monitor.metrics import ConversionCollector
from monitor.minutes import MINUTE_MS
from monitor.rules import Rules
from monitor.shard import Applied
from monitor.snapshot import Snapshot
from monitor.totals import Totals
from streams import told
from streams.board import OFFSET_HEADER, OWNER_KEY, WATERMARK_HEADER, Board, Holder
from streams.connection import client_arguments, unreachable
from streams.crowding import Crowding
from streams.dead_letters import DeadLetters
from streams.events import Decoder, Rejected
from streams.fetched import Batch, Record
from streams.keyed import sources_of, without_repeats
from streams.misrouted import PlacementCheck
from streams.patience import PASSING
from streams.seldom import Seldom
from streams.settings import Settings
from streams.shards import OwnedShard, Shards
from streams.topology import Topology
from streams.version import build_labels
from streams.watcher import Watcher

log = logging.getLogger(__name__)

#: How often stage two is told what changed, seconds.
TICK_S = 0.25
#: Share of a core that may go into telling what one partition holds: with thousands of values it is told less often.
_TELLING = 0.01
#: But at least as often as this, seconds: a short window cannot be moved far ahead (`Counts.at`).
_LONGEST_PAUSE_S = 1.0
#: How often it is told in any case, and the holder of the totals announces itself, seconds.
REPEAT_S = 5.0
#: A holder of the totals who hears nothing for so long, not even what he says himself, is cut off, seconds.
_CUT_OFF_S = 8.0
#: Minutes told in one message: a backlog is told in several.
_MINUTES_AT_ONCE = 300


class Pipeline:
    """A worker's parts, and what flows between them. Implements `streams.web.WebState`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.rules: Rules = settings.rules
        kafka = settings.kafka
        self.topology = Topology(kafka.topic, kafka.group, kafka.keyed_by_visitor)
        self.client_kwargs = client_arguments(kafka.security)
        self.counters = PipelineCounters(build=build_labels())
        self.shards = Shards(
            settings.rules,
            settings.privacy.salt.encode(),
            self.topology.consumed,
            self.topology.shards_changelog,
            kafka.bootstrap_servers,
            self.client_kwargs,
            self.counters,
            also_batched=() if kafka.keyed_by_visitor else (kafka.topic,),
        )
        self.board = Board(self.topology.counts)
        self.decoder = Decoder(settings.rules)
        self.partitions: int | None = None
        self.totals: Totals | None = None
        self.watcher: Watcher | None = None
        self.claims = told.Claims()
        self.app: Any = None
        #: Holds or drops the totals, as the assignment says (agent `rates`).
        self.settle: Callable[[], Awaitable[None]] | None = None
        self.seldom = Seldom(log)
        self._placement = PlacementCheck(self.topology.consumed, self.counters, self.seldom)
        self._crowding = Crowding(settings.limits, self.counters, self.seldom)
        self._dead_letters = DeadLetters(self.topology, self.counters, self.seldom)
        self.unreachable = ""
        self._shown: Snapshot | None = None
        self._shown_key: tuple[int, int | None, int, bool] = (0, None, 0, False)
        self._collector = ConversionCollector(self.snapshot, self.counters, max_series=settings.limits.series)
        self._moved_at = time.monotonic()
        self._announced_at = -REPEAT_S
        self._holders = 0
        self._holder: float | None = None
        self._held_since = 0.0

    # --- stage one -----------------------------------------------------------------------------------

    async def count(self, batch: Batch) -> None:
        """Decode a batch, count it, send what cannot be counted to the dead letters."""
        owned = await self.shards.owner_of(batch)
        if owned is None:
            return
        now = time.time()
        try:
            applied, events, rejected = self._read(batch, owned, int(now * 1000))
        except Exception as error:
            owned.fenced = True  # it may be half counted: nothing of it is saved
            await self.app.fail(error)
            raise
        for record, bad in rejected:
            self._dead_letters.post(self.app.producer, owned, record, bad)
        self._crowding.check(owned.shard, self.partitions, owned.partition)
        owned.next_offset = batch.end
        owned.highwater = batch.highwater
        owned.changed = True
        owned.active_at = time.monotonic()
        counters = self.counters
        counters.events += events + len(rejected)
        counters.duplicates += applied.duplicates
        counters.late += applied.late
        counters.count_delays(now - applied.times / 1000)
        counters.consumer_lag[owned.partition] = owned.lag
        watermark = owned.shard.watermark_ms
        if watermark is not None:
            counters.watermark[owned.partition] = watermark / 1000
            self.move(watermark)
        if rejected:
            await self._dead_letters.wait_for_room(owned)

    def _read(
        self, batch: Batch, owned: OwnedShard, now_ms: int
    ) -> tuple[Applied, int, list[tuple[Record, Rejected]]]:
        """Decode and count a batch: what became of it, how many events it had, and what is no event."""
        reading = owned.shard.begin()
        rejected: list[tuple[Record, Rejected]] = []
        sources: list[int] | None = None if self.settings.kafka.keyed_by_visitor else []
        for part in batch.parts(owned.next_offset):
            records = part if sources is None else without_repeats(part, owned.seen)
            decoded = self.decoder.decode([r.value for r in records], now_ms)
            if sources is not None:
                sources += sources_of(records, decoded.rejected)
            elif not reading.size:
                self._placement.check(records, decoded, self.partitions, owned.partition)
            reading.add(decoded.events)
            owned.note_producers(decoded.events)
            rejected += [(records[bad.position], bad) for bad in decoded.rejected]
        return owned.shard.count(reading, now_ms, sources), reading.size, rejected

    def move(self, watermark_ms: int) -> None:
        """Event time has moved."""
        before = self.board.watermark_ms
        self.board.advance(watermark_ms)
        if self.board.watermark_ms != before:
            self._moved_at = time.monotonic()

    # --- each tick -----------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Tell stage two what changed since the last tick."""
        if self.superseded and self.settle is not None and self.ready()[0]:
            await self.settle()
        now = time.monotonic()
        moved = self.board.holders != self._holders
        repeat = moved or now - self._announced_at >= REPEAT_S
        self._holders, self._holder = self.board.holders, self.board.since
        if repeat:
            self._announced_at = now
        if self.watcher is not None and (repeat or await self.watcher.work(self.app.producer)):
            holder = Holder(self.settings.http.url, self._held_since, self.watcher.saved_minute)
            await self._tell(OWNER_KEY, msgspec.json.encode(holder), {})
        at = self._event_time()
        for owned in list(self.shards.owned.values()):
            if owned.fenced:
                continue
            minutes = owned.shard.minutes
            if self.board.judged_minute is not None:
                minutes.forget(self.board.judged_minute)
            if moved:
                minutes.tell_again()
            if repeat or (now >= owned.tell_after and (owned.changed or self._due(owned, at))):
                await self._tell_counts(owned, at)

    async def _tell_counts(self, owned: OwnedShard, at: int | None) -> None:
        began = time.thread_time()
        counted = owned.shard.evaluate(at)
        owned.changed = False
        owned.told_at = counted.at_ms
        minutes = owned.shard.minutes
        passed = self._passed(owned, at)
        if passed is not None and owned.passed_ms is not None:
            passed = max(passed, owned.passed_ms)  # who was idle said how far the others were: that stands
        # A minute that still runs changes with every batch, and nobody asks for it before it is over.
        over = sorted(m for m in minutes.untold if passed is not None and (m + 1) * MINUTE_MS <= passed)
        news, more = over[:_MINUTES_AT_ONCE], over[_MINUTES_AT_ONCE:]
        minutes.untold.difference_update(news)
        if more:  # nothing beyond it may be closed yet
            passed = more[0] * MINUTE_MS
            owned.changed = True
        owned.passed_ms = passed
        news_of = minutes.packed(news)
        claim, offset = owned.writer.claim, owned.next_offset
        value = told.encode(claim, counted, offset, passed, news_of, owned.producers, self._holder)
        pause = min((time.thread_time() - began) / _TELLING, _LONGEST_PAUSE_S)
        owned.tell_after = time.monotonic() + pause
        headers = {OFFSET_HEADER: offset, WATERMARK_HEADER: counted.watermark_ms}
        await self._tell(str(owned.partition).encode(), value, headers)

    def _passed(self, owned: OwnedShard, at: int | None) -> int | None:
        """How far event time is on a partition; one that has nothing to read goes with the others."""
        watermark = owned.shard.watermark_ms
        if self.rules.clock == "wall" and watermark is not None:
            # Whose clock runs ahead must not close a minute in which the others still are.
            watermark = min(watermark, int(time.time() * 1000))
        if self._idle_since(owned.active_at) and not owned.lag and at is not None:
            return at if watermark is None else max(at, watermark)
        return watermark

    def _idle_since(self, moment: float) -> bool:
        """Whether nothing came since then (monotonic, seconds) although long enough it could have."""
        idle_s = time.monotonic() - max(moment, self.shards.taken_at)
        return idle_s * 1000 >= self.rules.idle_after_ms and self.ready()[0]

    def _event_time(self) -> int | None:
        """The common event time: the latest counted anywhere; the wall clock once nothing comes any more."""
        watermark = self.board.watermark_ms
        if self.rules.clock == "event" or watermark is None:
            return watermark
        now = int(time.time() * 1000)
        if self._idle_since(self._moved_at) and not any(owned.lag for owned in self.shards.owned.values()):
            return max(watermark, now) if watermark <= now else now
        return min(watermark, now)

    def _due(self, owned: OwnedShard, at: int | None) -> bool:
        """Whether event time has moved into another pane since this partition was told."""
        if at is None or owned.shard.watermark_ms is None:
            return False
        finest = min(w.pane_ms for w in self.rules.windows)
        return owned.told_at is None or at // finest > owned.told_at // finest

    async def _tell(self, key: bytes, value: bytes, headers: Mapping[str, int | None]) -> None:
        carried = [(name, str(number).encode()) for name, number in headers.items() if number is not None]
        try:
            future = await self.app.producer.send(self.topology.counts, key, value, 0, None, carried)
        except PASSING as error:
            self._not_told(error)
        else:
            future.add_done_callback(self._told)

    def _told(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            self._not_told(error)

    def _not_told(self, error: BaseException) -> None:
        """Counts did not reach stage two: tell them all again."""
        for owned in self.shards.owned.values():
            owned.shard.minutes.tell_again()
        self._announced_at = -REPEAT_S
        self.seldom.warn("tell", "telling the counts failed (%s); they are told again", error)

    async def watch_broker(self) -> None:
        """Look whether a broker takes connections; say so when that changes."""
        servers = self.settings.kafka.bootstrap_servers
        reason = await unreachable(servers)
        if reason and not self.unreachable:
            log.warning(
                "Kafka at %s does not answer (%s); trying again until it does, nothing is lost",
                servers,
                reason,
            )
        elif self.unreachable and not reason:
            log.info("Kafka at %s answers again", servers)
        self.unreachable = reason

    # --- stage two -----------------------------------------------------------------------------------

    def hold_totals(self, latest: Mapping[int, bytes], detector: Mapping[bytes, bytes]) -> None:
        """This worker adds partitions up from now on, and judges their minutes.

        Args:
            latest: Partition → what it told last.
            detector: Rows of the table `detector`.

        Raises:
            StateError: Another release wrote them.
        """
        assert self.partitions is not None
        topology = self.topology
        self.watcher = Watcher(
            self.settings, self.partitions, topology.alerts, topology.detector_changelog, detector
        )
        self.totals, self.claims = Totals(self.rules, self.partitions), told.Claims()
        # Later than the holder before, whatever the clocks of the two say.
        self._held_since = max(time.time(), (self.board.since or 0.0) + 1e-3)
        for known in (latest, self.board.furthest()):
            for partition, value in sorted(known.items()):
                found = told.decode(value)
                self.claims.accept(partition, found.claim)
                self.totals.put(partition, found.counts, found.offset)  # true, whoever counted as far
        self._announced_at = -REPEAT_S
        self.board.heard_at = time.monotonic()

    @property
    def superseded(self) -> bool:
        """Whether another worker has held the totals since this one took them over."""
        return self.totals is not None and (self.board.since or 0.0) > self._held_since

    def drop_totals(self) -> None:
        """Another worker adds up from now on."""
        self.totals = self.watcher = None

    def add(self, partition: int, value: bytes) -> bool:
        """Take in what a partition told; whether the totals follow it: its claim is valid, and it is not behind them."""
        found = told.decode(value)
        if self.totals is None or self.watcher is None or not self.claims.accept(partition, found.claim):
            return False
        if found.holder == self._held_since:
            self.watcher.put(partition, found)
        return self.totals.put(partition, found.counts, found.offset)

    # --- HTTP ----------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot | None:
        """The totals, if this worker holds them."""
        if self.totals is None or self.watcher is None or not self.totals.begun:
            return None
        totals, watch = self.totals.snapshot(), self.watcher.watch
        # Perhaps another worker adds up by now, or nobody: these numbers stand still.
        alone = self.superseded or time.monotonic() - self.board.heard_at > _CUT_OFF_S
        key = (id(totals), watch.closed, watch.next_command, alone)
        if self._shown is None or self._shown_key != key:
            complete = totals.complete and not alone
            shown = replace(totals, complete=complete, alerts=watch.alerts(), detection=watch.rows())
            self._shown, self._shown_key = shown, key
        return self._shown

    def totals_url(self) -> str | None:
        """Who holds them; None while that is not known."""
        own = self.settings.http.url
        if self.totals is not None:
            return own
        return None if self.board.totals_url == own else self.board.totals_url

    def ready(self) -> tuple[bool, list[str]]:
        """Whether events are being counted, and if not, what is missing."""
        app, missing = self.app, []
        if self.partitions is None or self.unreachable:
            why = f" ({self.unreachable})" if self.unreachable else ""
            missing.append(f"waiting for Kafka at {self.settings.kafka.bootstrap_servers}{why}")
        elif app is None or app.rebalancing or not app.tables.recovery.done:
            missing.append("partitions are being assigned and tables recovered")
        return not missing, missing

    def metrics_text(self) -> bytes:
        """Everything for `/metrics`."""
        return self._collector.exposition()
