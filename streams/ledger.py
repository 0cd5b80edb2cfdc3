"""A partition's state as records in its changelog, and whose they are.

Whoever takes a partition over first reads its log, then writes a *claim*: the next epoch and his own random id. A
record counts only if, where it stands in the log, its claim is the valid one: the highest epoch so far, and of several
claims to one epoch the first. So a worker that was paused for long and writes on (a zombie) changes nothing.

Every checkpoint writes one *delta* (what changed) and some *slices* (all rows of 1/64 of the keys), those that were
written longest ago first; a delta older than every slice is not needed any more. A record too large for one message
comes in parts; an incomplete one is as if it had not been written.

Every key is written once: it names its epoch, its writer and its checkpoint, so no record ever takes the place of
another, neither in the log nor under compaction. What is not needed any more goes by a tombstone, and only when what
replaces it is known to be valid (`LedgerWriter.verified`), so that a zombie's tombstones do no harm either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from monitor.state import SLICES
from streams.errors import StateError

#: Version of the records' frame; what is inside has its own (`monitor.state.VERSION`).
VERSION = 1
#: Largest part of a record, bytes; brokers accept messages of 1 MB by default.
PART_BYTES = 900_000
#: Slices are written at this share of the bytes of deltas …
SLICE_SHARE = 0.5
#: … but one at least in the first checkpoint of a claim and then after so many, however little changes.
SLICE_AFTER = 15
#: Tombstones in one checkpoint at most.
TOMBSTONES = 1_000


@dataclass(frozen=True, slots=True)
class Claim:
    """Who writes: an epoch (from 1) and a random id."""

    epoch: int
    writer: str


class Frame(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One message of the log.

    Attributes:
        version: `VERSION`.
        kind: `claim`, `delta` or `slice`.
        epoch: Of the writer's claim.
        writer: Of the writer's claim.
        seq: Number of the checkpoint, rising over all epochs.
        offset: Next offset of the source that the state does not hold yet.
        number: Of the slice; 0 for other kinds.
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
    number: int
    part: int
    parts: int
    body: bytes


#: Key and value; a value of None is a tombstone.
Message = tuple[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Written:
    """A record of the log: its checkpoint and its keys."""

    seq: int
    keys: tuple[bytes, ...]


@dataclass(slots=True)
class State:
    """What a log says.

    Attributes:
        seq: Number of the last complete checkpoint; 0 before the first.
        offset: Next source offset that is not counted yet; None before the first checkpoint.
        records: The records to apply, in order.
        slices: Slice → its newest complete record.
        deltas: The complete deltas.
        useless: Keys of what is not needed: incomplete records, older slices.
    """

    seq: int = 0
    offset: int | None = None
    records: list[bytes] = field(default_factory=list)
    slices: dict[int, Written] = field(default_factory=dict)
    deltas: list[Written] = field(default_factory=list)
    useless: tuple[bytes, ...] = ()


class Ledger:
    """Reads one partition's log in the order of its offsets.

    Attributes:
        owner: The valid claim; None before the first.
        next_offset: Offset of the log up to which it was read.
    """

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self.owner: Claim | None = None
        self.next_offset = 0
        self._frames: dict[bytes, Frame] = {}

    def follow(self, offset: int, key: bytes, value: bytes | None) -> None:
        """Take in the next message of the log.

        Raises:
            StateError: Another version wrote it; names both.
        """
        if value is None:
            self._frames.pop(key, None)
        else:
            frame = self._decode(offset, value)
            claim = Claim(frame.epoch, frame.writer)
            if frame.kind == "claim":
                if self.owner is None or claim.epoch > self.owner.epoch:
                    self.owner = claim
            elif claim == self.owner:
                self._frames[key] = frame
        self.next_offset = offset + 1

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
        deltas: dict[int, tuple[Written, bytes, int]] = {}
        slices: dict[int, tuple[Written, bytes]] = {}
        used: set[bytes] = set()
        whole = _complete(self._frames.items())
        for keys, first, body in whole:
            if first.kind == "delta":
                deltas[first.seq] = (Written(first.seq, keys), body, first.offset)
        if not deltas:
            return State(useless=tuple(self._frames))
        last = max(deltas)
        for keys, first, body in whole:
            if first.kind == "slice" and first.seq <= last:
                held = slices.get(first.number)
                if held is None or held[0].seq < first.seq:
                    slices[first.number] = (Written(first.seq, keys), body)
        covered = min(s.seq for s, _ in slices.values()) if len(slices) == SLICES else 0
        needed = [(d.seq, 0, body) for d, body, _ in deltas.values() if d.seq > covered or d.seq == last]
        needed += [(s.seq, 1, body) for s, body in slices.values()]
        needed.sort(key=lambda n: n[:2])
        kept = [d for d, _, _ in deltas.values()]
        for written in [*kept, *(s for s, _ in slices.values())]:
            used.update(written.keys)
        return State(
            seq=last,
            offset=deltas[last][2],
            records=[body for _, _, body in needed],
            slices={number: s for number, (s, _) in slices.items()},
            deltas=kept,
            useless=tuple(key for key in self._frames if key not in used),
        )

    def release(self) -> None:
        """Free the records; owner and position stay."""
        self._frames.clear()


def _complete(frames: Iterable[tuple[bytes, Frame]]) -> list[tuple[tuple[bytes, ...], Frame, bytes]]:
    """The records whose parts are all there: keys, first frame, whole body."""
    parts: dict[tuple[str, int, str, int, int], dict[int, tuple[bytes, Frame]]] = {}
    for key, frame in frames:
        record = (frame.kind, frame.epoch, frame.writer, frame.seq, frame.number)
        parts.setdefault(record, {})[frame.part] = (key, frame)
    whole = []
    for by_part in parts.values():
        if len(by_part) == next(iter(by_part.values()))[1].parts:
            ordered = [by_part[i] for i in range(len(by_part))]
            body = b"".join(frame.body for _, frame in ordered)
            whole.append((tuple(key for key, _ in ordered), ordered[0][1], body))
    return whole


class LedgerWriter:
    """Makes the messages of one partition's checkpoints under one claim."""

    def __init__(self, claim: Claim, state: State) -> None:
        self.claim = claim
        self.seq = state.seq
        self._slices = dict(state.slices)
        self._deltas = list(state.deltas)
        self._useless = list(state.useless)
        self._pending: dict[int, Written] = {}  # slices that are not known to be valid yet
        self._bytes: dict[int, int] = {}  # size of each slice, once written here
        self._budget = 0.0
        self._latest = state.seq - SLICE_AFTER  # checkpoint of the latest slice

    def claiming(self) -> Message:
        """The claim itself."""
        return f"c:{self.claim.epoch}:{self.claim.writer}".encode(), self._frame("claim", 0, 0, 0, 1, b"")

    def checkpoint(self, offset: int, delta: bytes) -> list[Message]:
        """Messages of the next checkpoint's delta, and tombstones of what earlier ones made useless."""
        self.seq += 1
        messages = self._parts("delta", offset, 0, delta)
        self._deltas.append(Written(self.seq, tuple(key for key, _ in messages)))
        self._budget += len(delta) * SLICE_SHARE
        gone, self._useless = self._useless[:TOMBSTONES], self._useless[TOMBSTONES:]
        return messages + [(key, None) for key in gone]

    def wants_slice(self, taken: int) -> int | None:
        """Number of the slice that this checkpoint should write next, None = enough; `taken` so far in it."""
        number = min(range(SLICES), key=self._age)
        due = self.seq - self._latest >= SLICE_AFTER
        affordable = self._budget > 0 and self._budget >= self._bytes.get(number, 0)
        return number if taken < SLICES and (due or affordable) else None

    def _age(self, number: int) -> tuple[int, int]:
        written = self._pending.get(number) or self._slices.get(number)
        return (0 if written is None else written.seq, number)

    def slice(self, offset: int, number: int, body: bytes) -> list[Message]:
        """Messages of a slice."""
        messages = self._parts("slice", offset, number, body)
        self._pending[number] = Written(self.seq, tuple(key for key, _ in messages))
        self._bytes[number] = len(body)
        self._latest = self.seq
        self._budget -= len(body)
        return messages

    def verified(self) -> None:
        """The last checkpoint is in the log under a valid claim: what it replaces may go with the next one."""
        for number, written in self._pending.items():
            if (old := self._slices.get(number)) is not None:
                self._useless += old.keys
            self._slices[number] = written
        self._pending = {}
        if len(self._slices) < SLICES:
            return
        covered = min(written.seq for written in self._slices.values())
        for delta in self._deltas:
            if delta.seq <= covered and delta.seq < self.seq:
                self._useless += delta.keys
        self._deltas = [d for d in self._deltas if d.seq > covered or d.seq >= self.seq]

    def _parts(self, kind: str, offset: int, number: int, body: bytes) -> list[Message]:
        count = max(1, -(-len(body) // PART_BYTES))
        name = f"{kind[0]}:{self.claim.epoch}:{self.claim.writer}:{self.seq}:{number}"
        bodies = [body[i * PART_BYTES : (i + 1) * PART_BYTES] for i in range(count)]
        return [
            (f"{name}:{i}".encode(), self._frame(kind, offset, number, i, count, b))
            for i, b in enumerate(bodies)
        ]

    def _frame(self, kind: str, offset: int, number: int, part: int, parts: int, body: bytes) -> bytes:
        epoch, writer = self.claim.epoch, self.claim.writer
        frame = Frame(VERSION, kind, epoch, writer, self.seq, offset, number, part, parts, body)
        return msgspec.msgpack.encode(frame)
