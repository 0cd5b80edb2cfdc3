"""Every message between the stages must be the truth about some prefix of its partition.

What a partition tells of the longest window only rises with each event, so its numbers name the prefix they
are for: the sum of all of them rises too, and is looked up. Messages of zombies, which readers pass over, are
passed over here as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tests.flow import DEVICES, I64, Flow
from tests.murmur2 import partition_of
from tests.product import told_numbers

GOALS = ("purchase", "sign_up")


def prefixes(flow: Flow, partitions: int) -> list[I64]:
    """Of each partition a row for each prefix: numbers in the order of `told_numbers`, from no event on."""
    places = np.array([partition_of(f"visitor-{v}", partitions) for v in range(int(flow.visitor.max()) + 1)])
    # A repeat changes nothing: an event counts where it is sent first.
    order = flow.sent[np.sort(np.unique(flow.sent, return_index=True)[1])]
    return [_cumulated(flow, order[places[flow.visitor[order]] == p]) for p in range(partitions)]


def _cumulated(flow: Flow, events: I64) -> I64:
    visitor, device = flow.visitor[events], flow.device[events]
    columns = [_firsts(visitor, np.ones(len(events), bool))]
    for goal in range(len(GOALS)):
        columns.append(_firsts(visitor, flow.goal[events] == goal))
    for where in (np.ones(len(events), bool), *(device == d for d in range(len(DEVICES)))):
        for goal in range(len(GOALS)):
            columns.append((where & (flow.goal[events] == goal)).astype(np.int64))
        columns.append(np.where(where & (flow.goal[events] == 0), flow.cents[events], 0))
    table = np.zeros((len(events) + 1, len(columns)), np.int64)
    table[1:] = np.cumsum(np.stack(columns, axis=1), axis=0)
    return table


def _firsts(who: I64, hits: Any) -> I64:
    """1 at the first hit of each."""
    found = np.zeros(len(who), np.int64)
    places = np.flatnonzero(hits)
    found[places[np.unique(who[places], return_index=True)[1]]] = 1
    return found


class Audit:
    """Checks messages in the order in which they stand in the topic.

    Attributes:
        checked: Messages that were compared.
        ignored: Messages under a claim that was outdated where they stand.
        claims: Valid claims seen.
        steps_back: How many events a new owner's first message was behind the last one of the owner before.
    """

    def __init__(self, flow: Flow, partitions: int) -> None:
        self._prefixes = prefixes(flow, partitions)
        self._sums = [table.sum(axis=1) for table in self._prefixes]
        self._claims: dict[int, tuple[int, str]] = {}
        self._events: dict[int, int] = {}
        self.next_offset = 0
        self.checked = self.ignored = self.claims = 0
        self.steps_back: list[int] = []

    def check(self, records: Iterable[Any]) -> list[str]:
        """What was told and never true, a line each."""
        wrong = []
        for record in records:
            if record.offset < self.next_offset:
                continue
            self.next_offset = record.offset + 1
            if record.key == b"owner" or record.value is None:
                continue
            wrong += self._check(int(record.key), record.offset, record.value)
        return wrong

    def _check(self, partition: int, offset: int, value: bytes) -> list[str]:
        claim, numbers = told_numbers(value, "24h", GOALS, ("device", DEVICES))
        valid = self._claims.get(partition)
        new = valid is None or claim[0] > valid[0]
        if new:
            self._claims[partition] = claim
            self.claims += 1
        elif claim != valid:
            self.ignored += 1
            return []
        self.checked += 1
        table, sums = self._prefixes[partition], self._sums[partition]
        place = int(np.searchsorted(sums, sum(numbers)))
        if place == len(sums) or table[place].tolist() != numbers:
            nearest = table[min(place, len(sums) - 1)].tolist()
            return [f"counts at {offset}, partition {partition}, {claim}: {numbers}; nearest truth {nearest}"]
        before = self._events.get(partition, 0)
        self._events[partition] = place
        if place < before:
            self.steps_back.append(before - place)
            if not new:
                return [f"counts at {offset}, partition {partition}, {claim}: {before - place} events back"]
        return []
