"""Events of a batch by visitor (or session): who they belong to, his latest ones, who returns after long."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.index import U64

I64 = npt.NDArray[np.int64]


def order_of(keys: U64) -> npt.NDArray[np.intp]:
    """Positions of keys such that equal ones stand together, in their order of arrival; an eighth of a stable sort.

    The low bits of each key give way to its position, so that plain numbers are sorted. Two keys that are equal but for
    those bits (hashes hardly ever are) would mix: then they are sorted as they are.
    """
    low = np.uint64((1 << len(keys).bit_length()) - 1)
    places = (keys & ~low) | np.arange(len(keys), dtype=np.uint64)
    places.sort()
    order = (places & low).astype(np.intp)
    ordered = keys[order]
    near = (ordered[1:] ^ ordered[:-1]) <= low
    if (near & (ordered[1:] != ordered[:-1])).any():
        return np.argsort(keys, kind="stable")
    return order


class Latest(NamedTuple):
    """The latest events of each group of a batch: several where they are of one time."""

    time: I64
    """Per group, their event time."""
    events: npt.NDArray[np.intp]
    """Their positions in the batch, group after group."""
    starts: I64
    """Per group, where it begins in `events`."""


class Groups:
    """Events of a batch grouped by key: `keys` are distinct, `of_event` names the group of each event."""

    def __init__(self, keys: U64) -> None:
        self.order = order_of(keys)
        ordered = keys[self.order]
        first = np.ones(len(keys), bool)
        first[1:] = ordered[1:] != ordered[:-1]
        self.starts = np.flatnonzero(first)
        self.keys: U64 = ordered[self.starts]
        self.of_event = np.empty(len(keys), np.intp)
        self.of_event[self.order] = np.cumsum(first) - 1

    def largest(self, values: I64) -> I64:
        """The largest value of each group."""
        result: I64 = np.maximum.reduceat(values[self.order], self.starts)
        return result

    def latest(self, times: I64) -> Latest:
        """The latest events of each group."""
        ordered = times[self.order]
        time: I64 = np.maximum.reduceat(ordered, self.starts)
        there = ordered == np.repeat(time, np.diff(self.starts, append=len(ordered)))
        count = np.add.reduceat(there, self.starts, dtype=np.int64)
        return Latest(time, self.order[there], np.cumsum(count) - count)


def returns(keys: U64, time: I64, after_ms: int) -> npt.NDArray[np.bool_]:
    """Which events come more than `after_ms` after all earlier-arrived events of their key."""
    groups = Groups(keys)
    ordered, group = time[groups.order], groups.of_event[groups.order]
    # Running maximum within each group: groups are set apart by more than any time.
    apart = group * (1 << 42)
    running = np.maximum.accumulate(ordered + apart) - apart
    gap = np.zeros(len(ordered), bool)
    gap[1:] = ordered[1:] - running[:-1] > after_ms
    gap[groups.starts] = False
    result = np.empty(len(ordered), bool)
    result[groups.order] = gap
    return result
