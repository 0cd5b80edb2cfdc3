"""A partition's state as records in its changelog, and whose they are.

Whoever takes a partition over first reads its log, then writes a *claim*: the next epoch and his own random id. A record
counts only if, where it stands in the log, its claim is the valid one: the highest epoch so far, and of several claims
to one epoch the first. So a worker that was paused for long and writes on (a zombie) changes nothing.

Keys are reused in a ring, so that compaction keeps the log short; nothing is ever deleted by a tombstone, which could
not say who wrote it. Every checkpoint writes one *delta* (what changed) and some *slices* (all rows of 1/64 of the keys),
so that a delta older than the oldest slice is not needed any more. A record too large for one message comes in parts; an
incomplete one is as if it had not been written, and slices alternate between two keys so that the one before is still
there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from monitor.state import SLICES
from streams.errors import StateError

#: Version of the records' frame; what is inside has its own (`monitor.state.VERSION`).
VERSION = 1
#: Largest part of a record, bytes; brokers accept messages of 1 MB by default.
PART_BYTES = 900_000
#: Deltas in the ring of keys. A full round of slices takes far fewer checkpoints.
RING = 4_096
#: Slices are written at this share of the bytes of deltas …
SLICE_SHARE = 0.5
#: … but at least one after this many checkpoints, so that a round ends long before the ring of deltas does.
SLICE_AFTER = 15


@dataclass(frozen=True, slots=True)
class Claim:
    """Who writes: an epoch (from 1) and a random id."""

    epoch: int
    writer: str


class Frame(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One message of the log.

    Attributes:
        version: `VERSION`.
        kind: `claim`, `delta`, `slice`, or `erased` (a delta that is not needed any more).
        epoch: Of the writer's claim.
        writer: Of the writer's claim.
        seq: Number of the checkpoint, rising over all epochs.
        offset: Next offset of the source that the state does not hold yet.
        part: Number of this part, from 0.
        parts: How many there are.
        body: Part of the record.
    """

    version: int
    kind: str
    epoch: int
    writer: str
    seq: int
    offset: int
    part: int
    parts: int
    body: bytes


Message = tuple[bytes, bytes]


@dataclass(slots=True)
class State:
    """What a log says.

    Attributes:
        seq: Number of the last complete checkpoint; 0 before the first.
        offset: Next source offset that is not counted yet; None before the first checkpoint.
        records: The records to apply, in order.
        slots: Slice → which of its two keys holds the newest complete one.
    """

    seq: int = 0
    offset: int | None = None
    records: list[bytes] = field(default_factory=list)
    slots: dict[int, int] = field(default_factory=dict)


class Ledger:
    """Reads one partition's log in the order of its offsets."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self.owner: Claim | None = None
        self.next_offset = 0
        self.foreign = 0
        self._frames: dict[bytes, Frame] = {}

    def follow(self, offset: int, key: bytes, value: bytes | None) -> None:
        """Take in the next message of the log."""
        self.next_offset = offset + 1
        if value is None:
            return
        frame = self._decode(offset, value)
        claim = Claim(frame.epoch, frame.writer)
        if frame.kind == "claim":
            if self.owner is None or claim.epoch > self.owner.epoch:
                self.owner = claim
        elif claim != self.owner:
            self.foreign += 1
        elif frame.kind == "erased":
            self._frames.pop(key, None)
        else:
            self._frames[key] = frame

    def _decode(self, offset: int, value: bytes) -> Frame:
        try:
            found = msgspec.msgpack.decode(value)
        except msgspec.DecodeError:
            found = None
        version = found[0] if isinstance(found, list) and found else None
        if version != VERSION:
            msg = (
                f"state in {self.topic}-{self.partition} at offset {offset} has version {version}, "
                f"this release reads version {VERSION}"
            )
            raise StateError(
                msg, remedy="run the release that wrote it, or start over with another kafka.group"
            )
        return msgspec.convert(found, Frame)

    def state(self) -> State:
        """What the valid records say now."""
        deltas = _complete(f for f in self._frames.values() if f.kind == "delta")
        if not deltas:
            return State()
        last = max(deltas)
        by_slice: dict[int, list[tuple[int, Frame]]] = {}
        for key, frame in self._frames.items():
            if frame.kind == "slice" and frame.seq <= last:
                number, slot = _slice_key(key)
                by_slice.setdefault(number, []).append((slot, frame))
        bodies: list[tuple[int, int, bytes]] = [(seq, 0, body) for seq, (body, _) in deltas.items()]
        newest: list[int] = []
        slots: dict[int, int] = {}
        for number, frames in by_slice.items():
            complete = _complete(frame for _, frame in frames)
            if complete:
                seq = max(complete)
                newest.append(seq)
                slots[number] = next(slot for slot, frame in frames if frame.seq == seq)
                bodies.append((seq, 1, complete[seq][0]))
        if len(newest) == SLICES:
            oldest = min(newest)
            bodies = [b for b in bodies if b[1] == 1 or b[0] > oldest or b[0] == last]
        bodies.sort(key=lambda b: b[:2])
        return State(last, deltas[last][1], [body for _, _, body in bodies], slots)

    def release(self) -> None:
        """Free the records; owner and position stay."""
        self._frames.clear()


def _complete(frames: Iterator[Frame]) -> dict[int, tuple[bytes, int]]:
    """Checkpoint number → (whole record, source offset), for those whose parts are all there."""
    parts: dict[int, dict[int, Frame]] = {}
    for frame in frames:
        parts.setdefault(frame.seq, {})[frame.part] = frame
    whole = {}
    for seq, by_part in parts.items():
        n = next(iter(by_part.values())).parts
        if len(by_part) == n:
            whole[seq] = (b"".join(by_part[i].body for i in range(n)), by_part[0].offset)
    return whole


def _slice_key(key: bytes) -> tuple[int, int]:
    _, number, slot, _ = key.split(b":")
    return int(number), int(slot)


class LedgerWriter:
    """Makes the messages of one partition's checkpoints under one claim."""

    def __init__(self, claim: Claim, state: State) -> None:
        self.claim = claim
        self.seq = state.seq
        self._slots = dict(state.slots)
        self._budget = 0.0
        self._next_slice = 0
        self._slice_bytes = [0] * SLICES
        self._slice_seq = state.seq  # checkpoint that wrote the latest slice
        self._round_began = state.seq
        self._delta_parts: dict[int, int] = {}  # checkpoint → parts, of deltas that may still be needed

    def claiming(self) -> Message:
        """The claim itself."""
        return f"c:{self.claim.epoch}:{self.claim.writer}".encode(), self._frame("claim", 0, 0, 1, b"")

    def checkpoint(self, offset: int, delta: bytes) -> list[Message]:
        """Messages of the next checkpoint's delta."""
        self.seq += 1
        messages = self._parts(f"d:{self.seq % RING}", "delta", offset, delta)
        self._delta_parts[self.seq] = len(messages)
        self._budget += len(delta) * SLICE_SHARE
        return messages

    def wants_slice(self, taken: int) -> int | None:
        """Number of the slice that this checkpoint should write next, None = enough; `taken` so far in it."""
        due = self.seq - self._slice_seq >= SLICE_AFTER
        affordable = self._budget > 0 and self._budget >= self._slice_bytes[self._next_slice]
        return self._next_slice if taken < SLICES and (due or affordable) else None

    def slice(self, offset: int, body: bytes) -> list[Message]:
        """Messages of the wanted slice, and those that erase deltas no longer needed after a full round."""
        number = self._next_slice
        slot = 1 - self._slots.get(number, 1)
        self._slots[number] = slot
        messages = self._parts(f"s:{number}:{slot}", "slice", offset, body)
        self._slice_bytes[number] = len(body)
        self._slice_seq = self.seq
        self._budget -= len(body)
        self._next_slice = (number + 1) % SLICES
        if self._next_slice == 0:
            messages += self._erase()
        return messages

    def _erase(self) -> list[Message]:
        """After a full round: the deltas from before it began are covered by every slice, even the one before."""
        done, self._round_began = self._round_began, self.seq
        messages = []
        for seq in [s for s in self._delta_parts if s <= done]:
            for part in range(self._delta_parts.pop(seq)):
                messages.append((f"d:{seq % RING}:{part}".encode(), self._frame("erased", 0, 0, 1, b"")))
        return messages

    def _parts(self, key: str, kind: str, offset: int, body: bytes) -> list[Message]:
        count = max(1, -(-len(body) // PART_BYTES))
        bodies = [body[i * PART_BYTES : (i + 1) * PART_BYTES] for i in range(count)]
        return [(f"{key}:{i}".encode(), self._frame(kind, offset, i, count, b)) for i, b in enumerate(bodies)]

    def _frame(self, kind: str, offset: int, part: int, parts: int, body: bytes) -> bytes:
        frame = Frame(VERSION, kind, self.claim.epoch, self.claim.writer, self.seq, offset, part, parts, body)
        return msgspec.msgpack.encode(frame)
