"""State as records of a log: whose they are, what a crash leaves of them, what compaction may take away."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.state import SLICES
from streams import ledger as module
from streams.errors import StateError
from streams.ledger import SLICE_AFTER, Claim, Frame, Ledger, LedgerWriter, Message, State

FEW = settings(max_examples=25, deadline=None, derandomize=True)


class Log:
    """A compacted partition: of records older than the lag only the newest of each key stays."""

    def __init__(self) -> None:
        self.records: list[tuple[int, bytes, bytes | None]] = []
        self.end = 0

    def append(self, messages: Iterable[Message]) -> list[int]:
        offsets = []
        for key, value in messages:
            self.records.append((self.end, key, value))
            offsets.append(self.end)
            self.end += 1
        return offsets

    def compact(self, young: int) -> None:
        """Compacts all but the last `young` records."""
        newest = {key: offset for offset, key, _ in self.records}
        self.records = [r for r in self.records if r[0] >= self.end - young or newest[r[1]] == r[0]]

    def read(self) -> Ledger:
        ledger = Ledger("log", 0)
        for offset, key, value in self.records:
            ledger.follow(offset, key, value)
        return ledger


@dataclass
class Toy:
    """A shard as small as can be: rows by key, a sum, and how far the source is counted."""

    rows: dict[int, int] = field(default_factory=dict)
    total: int = 0
    offset: int = 0
    changed: set[int] = field(default_factory=set)

    def count(self, key: int) -> None:
        self.rows[key] = self.rows.get(key, 0) + 1
        self.total += 1
        self.offset += 1
        self.changed.add(key)

    def delta(self, padding: int = 0) -> bytes:
        rows = {key: self.rows[key] for key in self.changed}
        self.changed.clear()
        return msgspec.msgpack.encode((rows, self.total, bytes(padding)))

    def slice_of(self, number: int) -> bytes:
        rows = {key: n for key, n in self.rows.items() if key % SLICES == number}
        return msgspec.msgpack.encode((rows, None, b""))

    @classmethod
    def load(cls, state: State) -> Toy:
        toy = cls(offset=state.offset or 0)
        for record in state.records:
            rows, total, _ = msgspec.msgpack.decode(record, type=tuple[dict[int, int], int | None, bytes])
            toy.rows.update(rows)
            toy.total = toy.total if total is None else total
        return toy

    @property
    def seen(self) -> tuple[dict[int, int], int, int]:
        return dict(self.rows), self.total, self.offset


class Worker:
    """Takes the log over, counts, writes checkpoints."""

    def __init__(self, log: Log, name: str) -> None:
        ledger = log.read()
        epoch = 1 if ledger.owner is None else ledger.owner.epoch + 1
        found = ledger.state()
        self.log, self.toy = log, Toy.load(found)
        self.writer = LedgerWriter(Claim(epoch, name), found)
        log.append([self.writer.claiming()])

    def messages(self, padding: int = 0) -> list[Message]:
        """The messages of a checkpoint, as `Shards` puts them together."""
        offset = self.toy.offset
        messages = self.writer.checkpoint(offset, self.toy.delta(padding))
        taken = 0
        while (number := self.writer.wants_slice(taken)) is not None:
            messages += self.writer.slice(offset, number, self.toy.slice_of(number))
            taken += 1
        return messages

    def checkpoint(self, padding: int = 0) -> None:
        self.log.append(self.messages(padding))
        self.writer.verified()


def loaded(log: Log) -> tuple[dict[int, int], int, int]:
    return Toy.load(log.read().state()).seen


def write(log: Log, claim: Claim, *kinds: str, seq: int = 1, body: bytes = b"x") -> None:
    for kind in kinds:
        name = f"{claim.epoch}:{claim.writer}"
        key = {"claim": f"c:{name}", "delta": f"d:{name}:{seq}:0:0"}
        frame = Frame(module.VERSION, kind, claim.epoch, claim.writer, seq, seq * 10, 0, 0, 1, body)
        log.append([(key[kind].encode(), msgspec.msgpack.encode(frame))])


# --- whose record counts --------------------------------------------------------------------------------


def test_the_first_claim_of_an_epoch_wins_and_a_higher_epoch_ends_it() -> None:
    log = Log()
    first, second, next_one = Claim(1, "a"), Claim(1, "b"), Claim(2, "b")
    write(log, first, "claim")
    write(log, second, "claim", "delta", body=b"second")
    assert log.read().owner == first
    assert log.read().state() == State()
    write(log, next_one, "claim", "delta", body=b"next")
    write(log, first, "delta", seq=2, body=b"zombie")
    ledger = log.read()
    assert ledger.owner == next_one
    assert ledger.state().records == [b"next"]


def test_a_claim_of_a_lower_epoch_changes_nothing() -> None:
    log = Log()
    write(log, Claim(3, "a"), "claim", "delta")
    write(log, Claim(2, "b"), "claim", "delta", body=b"late")
    assert log.read().state().records == [b"x"]


def test_what_a_zombie_writes_is_useless_to_a_reader() -> None:
    log = Log()
    write(log, Claim(1, "a"), "claim", "delta")
    write(log, Claim(2, "b"), "claim")
    write(log, Claim(1, "a"), "delta", seq=2, body=b"zombie")
    assert log.read().state().records == [b"x"]
    write(log, Claim(2, "b"), "delta", seq=2)
    assert log.read().state().records == [b"x", b"x"]
    assert log.read().state().offset == 20


def test_a_tombstone_takes_away_its_key_and_no_other() -> None:
    log = Log()
    write(log, Claim(1, "a"), "claim", "delta")
    write(log, Claim(1, "a"), "delta", seq=2, body=b"y")
    log.append([(b"d:1:a:1:0:0", None)])
    assert log.read().state().records == [b"y"]


def test_an_empty_log_has_no_offset() -> None:
    assert Log().read().state() == State()


@pytest.mark.parametrize("value", [b"", b"\xff\xff", b"\x93\x01", msgspec.msgpack.encode([9, "claim"])])
def test_what_is_not_of_this_version_is_an_error_that_names_both(value: bytes) -> None:
    ledger = Ledger("log", 3)
    with pytest.raises(StateError, match=f"log-3 at offset 5 has version .*reads version {module.VERSION}"):
        ledger.follow(5, b"k", value)


def test_a_record_that_cannot_be_read_is_not_passed_over_at_the_next_try() -> None:
    ledger = Ledger("log", 0)
    for _ in range(2):
        assert ledger.next_offset <= 5
        with pytest.raises(StateError):
            ledger.follow(5, b"k", b"")


# --- what a crash leaves ------------------------------------------------------------------------------


@FEW
@given(st.integers(0, 1 << 32), st.sampled_from([0, 100, 2_000]))
def test_a_crash_after_any_prefix_leaves_the_state_before_or_after(seed: int, padding: int) -> None:
    """Takes the log over again and again, with crashes in the middle of checkpoints, and compacts at random."""
    rng = random.Random(seed)
    log = Log()
    for life in range(6):
        before = loaded(log)
        worker = Worker(log, f"w{life}")
        assert worker.toy.seen == before
        for _ in range(rng.randrange(1, 40)):
            for _ in range(rng.randrange(1, 6)):
                worker.toy.count(rng.randrange(300))
            worker.checkpoint(padding)
            if rng.random() < 0.2:
                log.compact(young=rng.randrange(0, 30))
        before = worker.toy.seen
        assert loaded(log) == before
        worker.toy.count(7)
        messages = worker.messages(padding)
        written = rng.randrange(len(messages) + 1)
        log.append(messages[:written])
        log.compact(young=rng.randrange(0, 30))
        assert loaded(log) in (before, worker.toy.seen)
        assert (loaded(log) == worker.toy.seen) == (written > 0)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 60)


@pytest.mark.usefixtures("small_parts")
def test_an_incomplete_record_is_as_if_it_had_not_been_written() -> None:
    log = Log()
    worker = Worker(log, "a")
    worker.toy.count(1)
    worker.checkpoint(padding=200)
    before = worker.toy.seen
    worker.toy.count(2)
    messages = worker.writer.checkpoint(worker.toy.offset, worker.toy.delta(padding=200))
    assert len(messages) > 3
    for message in messages[:-1]:
        log.append([message])
        assert loaded(log) == before
    log.append([messages[-1]])
    assert loaded(log) == worker.toy.seen


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("left", [2, 3])
def test_what_a_crash_left_of_a_record_does_not_mix_with_the_next_one(left: int) -> None:
    """The next writer gives the number of the unfinished checkpoint to his first one."""
    for padding in (0, 70, 130, 200):
        log = Log()
        first = Worker(log, "a")
        first.toy.count(1)
        first.checkpoint()
        first.toy.count(2)
        log.append(first.writer.checkpoint(first.toy.offset, first.toy.delta(padding=200))[:left])

        second = Worker(log, "b")
        before = second.toy.seen
        second.toy.count(3)
        for message in second.messages(padding):
            log.append([message])
            assert loaded(log) in (before, second.toy.seen), padding
        assert loaded(log) == second.toy.seen, padding
        second.toy.count(4)
        second.checkpoint()
        assert loaded(log) == second.toy.seen, padding


@pytest.mark.usefixtures("small_parts")
def test_an_incomplete_slice_leaves_the_one_before() -> None:
    log = Log()
    worker = Worker(log, "a")
    for key in range(200):
        worker.toy.count(key)
    for _ in range(SLICES):
        worker.toy.count(0)
        worker.checkpoint(padding=2_000)
    assert loaded(log) == worker.toy.seen
    before = worker.toy.seen
    worker.toy.count(64)
    messages = worker.messages(padding=2_000)
    slices = [m for m in messages if m[0].startswith(b"s:")]
    assert slices
    for written in range(len(messages)):
        crashed = Log()
        crashed.records, crashed.end = list(log.records), log.end
        crashed.append(messages[:written])
        crashed.compact(young=0)
        assert loaded(crashed) in (before, worker.toy.seen)


def test_no_key_is_written_twice() -> None:
    log = Log()
    for life in range(6):
        worker = Worker(log, f"w{life}")
        for _ in range(SLICES):
            worker.toy.count(0)
            worker.checkpoint()
    values = [key for _, key, value in log.records if value is not None]
    assert len(values) == len(set(values))
    gone = [key for _, key, value in log.records if value is None]
    assert gone
    assert len(gone) == len(set(gone))


# --- short logs, and erasing -----------------------------------------------------------------------------


def test_the_log_of_a_long_life_stays_short_and_exact() -> None:
    log = Log()
    rng = random.Random(3)
    worker = Worker(log, "a")
    for number in range(4_400):
        worker.toy.count(rng.randrange(500))
        worker.checkpoint()
        if number % 400 == 0:
            log.compact(young=120)
            assert loaded(log) == worker.toy.seen
    log.compact(young=0)
    assert loaded(log) == worker.toy.seen
    deltas = [r for r in log.records if r[1].startswith(b"d:")]
    live = [f for f in log.read()._frames.values() if f.kind == "delta"]
    assert len(live) < 2 * SLICES * SLICE_AFTER, "what every slice covers is erased"
    assert len([value for _, _, value in deltas if value is not None]) == len(live)
    assert len(log.read().state().records) <= SLICES + SLICES * SLICE_AFTER


def test_what_is_not_known_to_be_valid_erases_nothing() -> None:
    """A checkpoint may turn out to be a zombie's: only `verified` lets the next one erase what it replaces."""
    log = Log()
    worker = Worker(log, "a")
    for _ in range(3 * SLICES):
        worker.toy.count(0)
        messages = worker.messages(padding=500)
        log.append(messages)
        assert all(value is not None for _, value in messages)
    worker.writer.verified()
    worker.toy.count(0)
    assert any(value is None for _, value in worker.messages())


def test_slices_cost_half_of_what_deltas_do_and_come_at_least_now_and_then() -> None:
    log = Log()
    worker = Worker(log, "a")
    for key in range(5_000):
        worker.toy.count(key)
    worker.checkpoint()
    written = {b"d": 0, b"s": 0}
    since = longest = 0
    for _ in range(2_000):
        for _ in range(20):
            worker.toy.count(random.Random(since).randrange(5_000))
        messages = worker.messages()
        slices = [m for m in messages if m[0].startswith(b"s")]
        since = 0 if slices else since + 1
        longest = max(longest, since)
        for key, value in messages:
            written[key[:1]] += len(value or b"")
        worker.writer.verified()
    assert longest < SLICE_AFTER
    assert written[b"s"] < 2 * written[b"d"]


POPULATION = 100 * SLICES


def with_a_population(log: Log, name: str) -> Worker:
    """A worker whose slices are large beside what changes, as in a day's window; visitor 63 is in the last slice."""
    worker = Worker(log, name)
    for key in range(POPULATION):
        worker.toy.count(key)
    worker.toy.changed = set(range(10))
    worker.checkpoint()
    worker.toy.changed = set(range(10, POPULATION))
    log.append(worker.writer.checkpoint(worker.toy.offset, worker.toy.delta()))
    worker.writer.verified()
    worker.writer._budget = 0.0
    return worker


def test_short_lives_lose_nothing_and_do_not_starve_slices() -> None:
    """A worker that restarts every ten minutes writes 120 checkpoints each time, for some six hours."""
    log = Log()
    worker = with_a_population(log, "w")
    for life in range(37):
        for _ in range(120):
            worker.toy.count(0)
            worker.checkpoint()
        log.compact(young=120)
        assert loaded(log) == worker.toy.seen, f"in life {life}"
        worker = Worker(log, f"w{life}")
    assert len(log.read().state().deltas) < 2 * SLICES * SLICE_AFTER


def test_a_zombie_cannot_displace_a_valid_record_for_good() -> None:
    """The lag keeps the valid record for ten minutes; a full round of slices may take eighty."""
    log = Log()
    zombie = with_a_population(log, "zombie")
    heir = Worker(log, "heir")
    heir.toy.count(63)
    heir.checkpoint()  # at the key at which the zombie writes next
    zombie.toy.count(2)
    zombie.checkpoint()
    for _ in range(130):  # more than ten minutes of checkpoints
        heir.toy.count(0)
        heir.checkpoint()
    log.compact(young=120)
    assert loaded(log) == heir.toy.seen
