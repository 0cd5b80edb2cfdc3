"""A batch of events as columns: times, hashed ids, numbers of segment values, and which events meet a goal."""

from __future__ import annotations

import hashlib
import itertools
import operator
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import xxhash
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from monitor.fields import OBJECT_FIELDS, TEXT_FIELDS, value_text
from monitor.goals import Goal
from monitor.index import U64
from monitor.segments import Segments

I64 = npt.NDArray[np.int64]
#: Stands for "has no such id".
NO_ID = np.uint64(0)


class EventLike(Protocol):
    """What the core needs of an event; `streams.events.Event` is one. `timestamp` is epoch ms."""

    event: str
    visitor_id: str
    timestamp: Any
    event_id: str | None
    session_id: str | None
    transaction_id: str | None
    value: Any
    currency: str | None
    properties: dict[str, Any] | None
    variant: dict[str, str] | None


Texts = Callable[[Sequence[EventLike]], list[str | None]]


def text_reader(path: str) -> Texts:
    """A function that reads the text at `path` from each event of a batch (None = not carried)."""
    head, dot, name = path.partition(".")
    if not (dot and head in OBJECT_FIELDS):
        get = operator.attrgetter(path)
        return lambda events: list(map(get, events))
    inner = operator.attrgetter(head)

    def read(events: Sequence[EventLike]) -> list[str | None]:
        return [None if (o := inner(e)) is None else value_text(o.get(name)) for e in events]

    return read


def number_reader(segments: Segments) -> Callable[[Sequence[EventLike]], list[int]]:
    """A function that reads the number of a dimension's value from each event of a batch (see `Segments`)."""
    path, number = segments.dimension.field, segments.number
    texts = text_reader(path)
    if path in TEXT_FIELDS:
        # Written out, a field is read and looked up in two thirds of the time that `map` and `attrgetter` take.
        names = {"number": number}
        known: Callable[[Sequence[EventLike]], list[int]] = eval(  # noqa: S307
            f"lambda events: [number[event.{path}] for event in events]", names
        )
    else:

        def known(events: Sequence[EventLike]) -> list[int]:
            return [number[text] for text in texts(events)]

    def read(events: Sequence[EventLike]) -> list[int]:
        try:
            return known(events)
        except KeyError:
            segments.meet(texts(events))
            return known(events)

    return read


@dataclass(slots=True)
class Batch:
    """Events in order of arrival, by column; ids are hashes, `NO_ID` where an event has none."""

    time: I64
    visitor: U64
    session: U64
    event_id: U64
    numbers: I64
    """(dimensions, events) number of the value that an event carries (see `Segments`), -1 for none."""
    hit_at: I64
    """Position of each event that meets a goal (one entry per goal it meets)."""
    hit_goal: I64
    """Number of that goal."""
    hit_events: list[EventLike]
    """That event."""

    def take(self, wanted: npt.NDArray[np.bool_]) -> Batch:
        """The wanted events only; positions of hits follow."""
        new_position = np.cumsum(wanted) - 1
        chosen = self.with_hits(wanted[self.hit_at])
        return Batch(
            self.time[wanted],
            self.visitor[wanted],
            self.session[wanted],
            self.event_id[wanted],
            self.numbers[:, wanted],
            new_position[chosen.hit_at],
            chosen.hit_goal,
            chosen.hit_events,
        )

    def with_hits(self, wanted: npt.NDArray[np.bool_]) -> Batch:
        """The same events, of the hits only the wanted ones."""
        events = list(itertools.compress(self.hit_events, wanted.tolist()))
        return replace(self, hit_at=self.hit_at[wanted], hit_goal=self.hit_goal[wanted], hit_events=events)


def _array(kind: Literal["q", "Q"], numbers: Iterable[int]) -> npt.NDArray[Any]:
    """64-bit numbers as an array, signed or not; not to be changed. `struct` needs less than half of numpy's time."""
    held = list(numbers)
    return np.frombuffer(struct.pack(f"{len(held)}{kind}", *held), np.int64 if kind == "q" else np.uint64)


class Hasher:
    """64-bit hashes of ids. Those of visitors are encrypted by the salt, so that a stored one tells nobody the id."""

    def __init__(self, salt: bytes) -> None:
        key = hashlib.blake2b(salt, digest_size=40).digest()
        self._seed = int.from_bytes(key[:8], "little")
        # One block of AES for each hash: a keyed function of it that cannot be turned back without the key.
        self._cipher = Cipher(algorithms.AES256(key[8:]), modes.ECB())  # noqa: S305 (no text is hidden here)

    def visitors(self, hashes: U64) -> U64:
        """What stands for visitors, of what `ids` gives for their ids."""
        blocks = np.zeros((len(hashes), 2), "<u8")
        blocks[:, 0] = hashes
        secret = np.frombuffer(self._cipher.encryptor().update(blocks.tobytes()), "<u8")
        found: U64 = secret[::2].astype(np.uint64)
        found[found == NO_ID] = 1
        return found

    def ids(self, ids: Sequence[str | None]) -> U64:
        """Hashes of other ids; `NO_ID` where there is none."""
        digest, seed = xxhash.xxh3_64_intdigest, self._seed
        try:
            every = map(digest, map(str.encode, ids), itertools.repeat(seed))  # type: ignore[arg-type]
            found: U64 = np.maximum(_array("Q", every), 1)
            return found
        except TypeError:  # some have none
            return np.array([0 if i is None else digest(i.encode(), seed) or 1 for i in ids], np.uint64)


def mix(a: U64, b: U64 | np.uint64) -> U64:
    """One well mixed key of two (the finalizer of splitmix64)."""
    x = a ^ (b * np.uint64(0x9E3779B97F4A7C15))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: U64 = x ^ (x >> np.uint64(31))
    return mixed


class GoalMatcher:
    """Finds which events meet which goals; one dictionary look-up for the many that meet none."""

    def __init__(self, goals: Sequence[Goal]) -> None:
        self._by_event: dict[str, list[tuple[int, list[tuple[Texts, frozenset[str]]]]]] = {}
        self._any_event: list[tuple[int, list[tuple[Texts, frozenset[str]]]]] = []
        for number, goal in enumerate(goals):
            rest = [(text_reader(path), wanted) for path, wanted in goal.match if path != "event"]
            names = next((wanted for path, wanted in goal.match if path == "event"), None)
            if names is None:
                self._any_event.append((number, rest))
            else:
                for name in names:
                    self._by_event.setdefault(name, []).append((number, rest))
        for of_name in self._by_event.values():
            of_name.extend(self._any_event)

    def hits(self, events: Sequence[EventLike]) -> tuple[I64, I64]:
        """Positions and goal numbers of all matches, by position."""
        by_event, any_event = self._by_event, self._any_event
        at: list[int] = []
        goal: list[int] = []
        names = [event.event for event in events]
        candidates = (
            range(len(names)) if any_event else [i for i, name in enumerate(names) if name in by_event]
        )
        for i in candidates:
            for number, rest in by_event.get(names[i], any_event):
                if not rest or all(read((events[i],))[0] in wanted for read, wanted in rest):
                    at.append(i)
                    goal.append(number)
        return np.array(at, np.int64), np.array(goal, np.int64)


class BatchReader:
    """Turns events into a `Batch`; kept from batch to batch."""

    def __init__(self, goals: Sequence[Goal], segments: Sequence[Segments], salt: bytes) -> None:
        self.hasher = Hasher(salt)
        self.matcher = GoalMatcher(goals)
        self.segments = segments
        self.numbers = [number_reader(s) for s in segments]

    def begin(self) -> Reading:
        """A batch that grows."""
        return Reading(self)


class Reading:
    """Events that become one `Batch`, handed over a few hundred at a time.

    That is three times as fast as all at once: the events are read while they are in the processor's cache, and let go.
    """

    def __init__(self, reader: BatchReader) -> None:
        self._reader = reader
        self.size = 0
        self._columns: list[tuple[npt.NDArray[Any], ...]] = []
        self._hit_events: list[EventLike] = []

    def add(self, events: Sequence[EventLike]) -> None:
        """The next events, in order of arrival."""
        if not events:
            return
        reader, n = self._reader, len(events)
        hasher = reader.hasher
        hit_at, hit_goal = reader.matcher.hits(events)
        self._hit_events += [events[i] for i in hit_at.tolist()]
        self._columns.append(
            (
                _array("q", [e.timestamp for e in events]),
                hasher.ids([e.visitor_id for e in events]),
                hasher.ids([e.session_id for e in events]),
                hasher.ids([e.event_id for e in events]),
                hit_at + self.size,
                hit_goal,
                *(_array("q", read(events)) for read in reader.numbers),
            )
        )
        self.size += n

    def batch(self) -> Batch:
        """All that was added; at least one event."""
        columns = [np.concatenate(parts) for parts in zip(*self._columns, strict=True)]
        time, visitor, session, event_id, hit_at, hit_goal, *numbers = columns
        visitor = self._reader.hasher.visitors(visitor)
        # A session belongs to its visitor: one session id under two visitors is two sessions.
        session = np.where(session == NO_ID, NO_ID, mix(visitor, session))
        by_dimension = np.array(numbers, np.int64).reshape(-1, self.size)
        return Batch(time, visitor, session, event_id, by_dimension, hit_at, hit_goal, self._hit_events)
