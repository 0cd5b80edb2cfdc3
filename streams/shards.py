"""The shards of a worker: taking partitions over, checkpoints, commits.

Commit = checkpoint: what changed is written into the partition's changelog, acknowledged by the broker, and only then
the source offset is committed. Reading starts where the state says, not where the commit says, so a commit that was
lost or came from elsewhere cannot count an event twice or not at all.

Longer than 300 lines because taking over, saving and giving up a partition share one state and must be read together.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError
from faust.types import TP

from monitor import state
from monitor.counters import PipelineCounters
from monitor.rules import Rules
from monitor.shard import Shard
from monitor.watch import PRODUCERS
from streams.errors import StateError
from streams.events import Event
from streams.fetched import Batch
from streams.ledger import Claim, Ledger, LedgerWriter, Message
from streams.log_reader import read_log
from streams.offsets import beginning_offsets
from streams.patience import PASSING, until_done
from streams.transport import Consumer

log = logging.getLogger(__name__)


def _pack(seen: dict[int, int], body: bytes) -> bytes:
    return msgspec.msgpack.encode((seen, body))


def _unpack(record: bytes) -> tuple[dict[int, int], bytes]:
    return msgspec.msgpack.decode(record, type=tuple[dict[int, int], bytes])


class OwnedShard:
    """A partition that this worker has claimed.

    Attributes:
        next_offset: First source offset that is not counted yet.
        committed_offset: What this worker committed last; None if that is not what is saved, or not known to be.
        fenced: Another worker has claimed the partition: nothing may be counted, written or told any more.
        changed: Something was counted since stage two was told.
        tell_after: When (monotonic, seconds) it may be told again.
        passed_ms: The furthest event time that it was told to have passed.
    """

    def __init__(
        self, partition: int, shard: Shard, writer: LedgerWriter, ledger: Ledger, next_offset: int
    ) -> None:
        self.partition, self.shard, self.writer, self.ledger = partition, shard, writer, ledger
        self.next_offset = next_offset
        self.saved_offset = next_offset
        self.committed_offset: int | None = None
        self.highwater: int | None = None
        self.fenced = False
        self.changed = True
        self.told_at: int | None = None
        self.tell_after = 0.0
        self.passed_ms: int | None = None
        self.busy = asyncio.Lock()
        self.active_at = time.monotonic()
        #: Who sends: `name/version` → event time of its first event.
        self.producers: dict[str, int] = {}
        #: For events that `rekey` sent on: partition of the originals → furthest offset seen.
        self.seen: dict[int, int] = {}
        #: Dead letters that the broker has not acknowledged yet; a checkpoint waits for them.
        self.unacknowledged: list[asyncio.Task[None]] = []

    @property
    def lag(self) -> int:
        """Records of the partition that are not counted yet; 0 while the end is not known."""
        return 0 if self.highwater is None else max(0, self.highwater - self.next_offset)

    def note_producers(self, events: Sequence[Event]) -> None:
        """Remember who sends (`name/version`) and the event time of his first event."""
        note_producers(self.producers, events)


def note_producers(known: dict[str, int], events: Sequence[Event]) -> None:
    """Add to `known`, `name/version` → event time of its first event, who sent these events."""
    names = {event.producer for event in events}
    if names <= known.keys() | {None} or len(known) >= PRODUCERS:
        return
    for event in events:
        name, time_ms = event.producer, int(event.timestamp)  # type: ignore[arg-type]
        if name and time_ms < known.get(name, time_ms + 1):
            known[name] = time_ms


class Shards:
    """All shards of a worker; `topics` and `seek` are what the transport needs (`app.batches`)."""

    def __init__(
        self,
        rules: Rules,
        salt: bytes,
        topic: str,
        changelog: str,
        bootstrap: str,
        client_kwargs: Mapping[str, Any],
        counters: PipelineCounters,
        also_batched: Iterable[str] = (),
    ) -> None:
        self.rules, self._salt = rules, salt
        self.topic, self._changelog = topic, changelog
        self.bootstrap, self.client_kwargs = bootstrap, client_kwargs
        self.counters = counters
        self.topics = frozenset([topic, *also_batched])
        self.owned: dict[int, OwnedShard] = {}
        self.ledgers: dict[int, Ledger] = {}
        #: Offsets to commit of batched topics that have no state (`rekey`).
        self.forwarded: dict[TP, int] = {}
        self.app: Any = None
        #: When (monotonic, seconds) partitions were taken over last: what waits in them comes only after that.
        self.taken_at = time.monotonic()

    def ledger(self, partition: int) -> Ledger:
        """The reader of a partition's changelog, as far as it was read."""
        return self.ledgers.setdefault(partition, Ledger(self._changelog, partition))

    async def take_over(self, partitions: Iterable[int]) -> None:
        """Own exactly these partitions: keep what is still ours, claim and load the rest."""
        wanted = set(partitions)
        # Committed when partitions were revoked; of one that has been elsewhere since, it would lead back.
        self.forwarded.clear()
        for partition in set(self.owned) | set(self.ledgers):
            if partition not in wanted:
                self.owned.pop(partition, None)
                self.ledgers.pop(partition, None)
                self.counters.forget_partitions([partition])
        for partition in sorted(wanted):
            await until_done(f"taking partition {partition} over", partial(self._take_over, partition))
        self.taken_at = time.monotonic()

    async def _take_over(self, partition: int) -> None:
        owned = self.owned.get(partition)
        if owned is not None:
            await self._catch_up(owned.ledger)
            owned.ledger.release()
            if owned.ledger.owner == owned.writer.claim and not owned.fenced:
                return  # a rebalance that left the partition here
            self.owned.pop(partition)
            self.ledgers.pop(partition)
        self.owned[partition] = await self._claim(partition)

    async def _catch_up(self, ledger: Ledger) -> None:
        """Read what was written to a changelog since it was read last."""
        async for offset, key, value in read_log(
            self.bootstrap, ledger.topic, ledger.partition, ledger.next_offset, self.client_kwargs
        ):
            ledger.follow(offset, key, value)

    async def _claim(self, partition: int) -> OwnedShard:
        ledger = self.ledger(partition)
        while True:
            await self._catch_up(ledger)
            epoch = 1 if ledger.owner is None else ledger.owner.epoch + 1
            claim = Claim(epoch, secrets.token_hex(8))
            key, value = LedgerWriter(claim, ledger.state()).claiming()
            await self._write(partition, [(key, value)])
            await self._catch_up(ledger)  # as far as our own claim, at least
            if ledger.owner == claim:
                break
            log.info("partition %d was claimed by another worker at the same moment; trying again", partition)
        found = ledger.state()
        try:
            bodies = [_unpack(record) for record in found.records]
            shard = state.load(self.rules, self._salt, [body for _, body in bodies])
        except (state.UnknownVersionError, msgspec.MsgspecError) as error:
            msg = f"the state in {self._changelog}-{partition} cannot be read: {error}"
            raise StateError(
                msg, remedy="run the release that wrote it, or start over with another kafka.group"
            ) from error
        ledger.release()
        offset = await self._first_offset(partition, found.offset)
        log.info(
            "partition %d: claimed as epoch %d, %d visitors restored, counting from offset %d",
            partition,
            epoch,
            shard.visitors.table.size,
            offset,
        )
        owned = OwnedShard(partition, shard, LedgerWriter(claim, found), ledger, offset)
        if found.offset is None:
            owned.committed_offset = offset  # nothing is saved yet
        owned.seen = bodies[-1][0] if bodies else {}
        return owned

    async def _first_offset(self, partition: int, saved: int | None) -> int:
        tp = TopicPartition(self.topic, partition)
        first = (await beginning_offsets(self.bootstrap, [tp], **self.client_kwargs))[tp]
        if saved is None:
            return first
        if first > saved:
            self._tell_lost(partition, saved, first)
        return max(first, saved)

    def _tell_lost(self, partition: int, saved: int, first: int) -> None:
        self.counters.lost += first - saved
        log.error(
            "partition %d: retention deleted the events at offsets %d to %d before they were read; "
            "they are missing in all counts. Raise retention.ms of %s above the longest outage",
            partition,
            saved,
            first - 1,
            self.topic,
        )

    async def seek(self, consumer: Consumer) -> None:
        """Move the source partitions to where their state is (Faust has sought to the committed offsets)."""
        assigned = consumer.assignment()
        for owned in list(self.owned.values()):
            tp = TP(self.topic, owned.partition)
            if tp not in assigned:
                continue  # about to be given up: a seek would fail
            try:
                await consumer.seek(tp, owned.next_offset)
            except IllegalStateError:
                log.debug("partition %d went away while it was sought", owned.partition)

    async def owner_of(self, batch: Batch) -> OwnedShard | None:
        """The shard that a batch continues; None for one from before a seek or a rebalance."""
        owned = self.owned.get(batch.partition)
        if owned is None or owned.fenced or batch.end <= owned.next_offset:
            return None
        if batch.start > owned.next_offset:
            tp = TopicPartition(batch.topic, batch.partition)
            first = (await beginning_offsets(self.bootstrap, [tp], **self.client_kwargs))[tp]
            if first <= owned.next_offset:  # nothing is lost: the batch is from another place
                await self.app.consumer.seek(TP(*tp), owned.next_offset)
                return None
            self._tell_lost(batch.partition, owned.next_offset, min(first, batch.start))
        return owned

    async def _write(self, partition: int, messages: list[Message]) -> list[int]:
        """Write to a partition of the changelog; offsets of the messages once all are acknowledged."""
        producer = self.app.producer
        futures = [
            await producer.send(self._changelog, key, value, partition, None, None) for key, value in messages
        ]
        return [found.offset for found in await asyncio.gather(*futures)]

    async def checkpoint(self, owned: OwnedShard) -> None:
        """Save what changed, wait for the broker, then commit.

        Where nothing is new, a commit is made up for that a crash or the broker prevented: no event may come to do it.
        Once begun it must end: if it is cancelled, the shard no longer knows what is saved and is loaded anew.
        """
        async with owned.busy:
            if owned.fenced:
                return
            try:
                if owned.next_offset != owned.saved_offset:
                    await self._save(owned)
                elif owned.committed_offset != owned.saved_offset:
                    await self._commit(owned)
            except BaseException:
                owned.fenced = True
                raise

    async def _save(self, owned: OwnedShard) -> None:
        began = time.monotonic()
        offset, partition = owned.next_offset, owned.partition
        dead_letters, owned.unacknowledged = owned.unacknowledged, []
        owned.shard.forget()
        messages = owned.writer.checkpoint(offset, _pack(owned.seen, state.delta(owned.shard)))
        slices = 0
        while (number := owned.writer.wants_slice(slices)) is not None:
            body = _pack(owned.seen, state.slice_of(owned.shard, number))
            messages += owned.writer.slice(offset, number, body)
            slices += 1
        await asyncio.gather(*dead_letters)
        # Repeated as a whole: the same records again, in order, change nothing.
        offsets = await until_done(f"saving partition {partition}", lambda: self._write(partition, messages))
        if not await until_done(f"checking partition {partition}", lambda: self._still_ours(owned, offsets)):
            return
        owned.writer.verified()
        owned.saved_offset = offset
        await self._commit(owned)
        self.counters.checkpoint_done(time.monotonic() - began, time.time())

    async def _commit(self, owned: OwnedShard) -> None:
        """Commit what is saved; if that fails, the state is safe and the next checkpoint commits it."""
        offset, partition = owned.saved_offset, owned.partition
        try:
            done = await self.app.consumer.commit_batches({TP(self.topic, partition): offset})
        except PASSING as error:
            log.warning(
                "committing partition %d failed (%s); the next checkpoint commits it", partition, error
            )
        else:
            if done:
                owned.committed_offset = offset
                self.counters.committed_offset[partition] = offset

    async def _still_ours(self, owned: OwnedShard, offsets: list[int]) -> bool:
        """Whether nobody has written to the log beside us; if somebody has, whether the claim still holds."""
        ledger = owned.ledger
        if offsets == list(range(ledger.next_offset, ledger.next_offset + len(offsets))):
            ledger.next_offset = offsets[-1] + 1
            return True
        await self._catch_up(ledger)
        ledger.release()
        if ledger.owner == owned.writer.claim:
            return True
        owned.fenced = True
        log.warning("partition %d was taken over by another worker; it is left alone here", owned.partition)
        return False

    async def checkpoint_all(self) -> None:
        """A checkpoint of every shard, and the commits of topics that are only passed on."""
        for owned in list(self.owned.values()):
            await self.checkpoint(owned)
        if self.forwarded:
            try:
                await self.app.consumer.commit_batches(self.forwarded)
            except PASSING as error:
                log.warning(
                    "committing passed-on events failed (%s); the next checkpoint commits them", error
                )

    def abandon(self) -> None:
        """Forget all shards: their partitions go elsewhere, or are loaded anew from what is saved."""
        self.owned.clear()
        self.ledgers.clear()
