"""The product as the tests see it: the one place that follows its names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from monitor import state
from monitor.counts import Counts
from monitor.rules import Rules
from monitor.shard import Shard
from monitor.snapshot import Row
from monitor.totals import Totals
from streams import told
from streams.events import Decoder
from streams.settings import parse_settings

Keys = Mapping[str, Any]

SALT = b"salt of the tests"
#: A wall clock after every event of the tests: time is that of the events.
FAR = 4_000_000_000_000


def rules_of(keys: Keys) -> Rules:
    """The product's rules for counting keys of a config file (JSON is YAML); only events move time."""
    return parse_settings(json.dumps({"clock": "event", **keys}), {}).rules


class Partition:
    """A shard of the product, fed with events as the oracle gets them."""

    def __init__(self, keys: Keys, now: int = FAR) -> None:
        self.rules = rules_of(keys)
        self.now = now
        self.shard = Shard(self.rules, SALT)

    def apply(self, events: Sequence[Mapping[str, Any]]) -> tuple[int, int, int]:
        """Counts one batch; how many events were counted, repeated, late."""
        decoded = Decoder(self.rules).decode([json.dumps(event).encode() for event in events], self.now)
        assert not decoded.rejected, decoded.rejected
        applied = self.shard.apply(decoded.events, self.now)
        return applied.counted, applied.duplicates, applied.late


class Worker:
    """A partition with checkpoints kept as the worker keeps them: deltas, and slices of all rows in turn."""

    def __init__(self, keys: Keys) -> None:
        self.partition = Partition(keys)
        self.position = 0
        self._records: list[tuple[str, bytes]] = []
        self._round = 0

    def apply(self, events: Sequence[Mapping[str, Any]]) -> None:
        self.partition.apply(events)

    def checkpoint(self, position: int) -> None:
        """Takes down the state as of a position in the events; frees what is no longer needed."""
        self.partition.shard.forget()
        number = self._round % state.SLICES
        self._records.append(("delta", state.delta(self.partition.shard)))
        self._records.append((f"slice {number}", state.slice_of(self.partition.shard, number)))
        self._round += 1
        self._drop_the_old()
        self.position = position

    def _drop_the_old(self) -> None:
        """Deltas older than a full rotation of slices go, and each slice but its latest."""
        latest = {kind: i for i, (kind, _) in enumerate(self._records)}
        oldest_slice = min((latest.get(f"slice {n}", -1) for n in range(state.SLICES)), default=-1)
        self._records = [
            (kind, record)
            for i, (kind, record) in enumerate(self._records)
            if (kind == "delta" and (i >= oldest_slice - 1 or oldest_slice < 0)) or latest[kind] == i
        ]

    def crash(self) -> int:
        """Loses the state and reads back the last checkpoint; the position of its first missing event."""
        rules = self.partition.rules
        self.partition.shard = state.load(rules, SALT, [record for _, record in self._records])
        return self.position


def total(keys: Keys, partitions: Sequence[Partition], at: int | None = None) -> Sequence[Row]:
    """The rows of all partitions together at a time, by way of the messages between the stages."""
    times = [p.shard.watermark_ms for p in partitions if p.shard.watermark_ms is not None]
    at = max(times, default=0) if at is None else at
    totals = Totals(rules_of(keys), len(partitions))
    for number, partition in enumerate(partitions):
        message = msgspec.msgpack.encode(partition.shard.evaluate(at))
        totals.put(number, msgspec.msgpack.decode(message, type=Counts))
    return totals.snapshot().rows


def rows(
    keys: Keys,
    partitions: Sequence[Sequence[Mapping[str, Any]]],
    at: int | None = None,
    cuts: Iterable[int] = (),
) -> Sequence[Row]:
    """What the product makes of all events of each partition, in batches cut at `cuts`."""
    found = []
    for events in partitions:
        partition = Partition(keys)
        for begin, end in pairwise([0, *cuts, len(events)]):
            partition.apply(events[begin:end])
        found.append(partition)
    return total(keys, found, at)


def told_numbers(
    value: bytes, window: str, goals: Sequence[str], dimension: tuple[str, Sequence[str]]
) -> tuple[tuple[int, str], list[int]]:
    """Claim and numbers of a message between the stages.

    Visitors, converters of each goal; then of the whole and of each value of the dimension: conversions of each
    goal, revenue in cents.
    """
    message = told.decode(value)
    counts, (name, values) = message.counts, dimension
    w = counts.windows.index(window)
    cells, number = counts.array()[w], {goal: i for i, goal in enumerate(counts.goals)}
    row_of: dict[str, int] = next(
        (dict(zip(names, rows, strict=True)) for found, names, rows in counts.segments if found == name), {}
    )
    cents: dict[int, int] = {}
    for _, _, scale, rows, units in counts.amounts[w]:
        for row, unit in zip(rows, units, strict=True):
            cents[row] = cents.get(row, 0) + int(unit) * 100 // 10**scale
    numbers = [int(cells[0, 0])] + [int(cells[2 + number[goal], 0]) for goal in goals]
    for row in (0, *(row_of.get(value, -1) for value in values)):
        for goal in goals:
            numbers.append(int(cells[2 + len(number) + number[goal], row]) if row >= 0 else 0)
        numbers.append(cents.get(row, 0))
    return (message.epoch, message.writer), numbers
