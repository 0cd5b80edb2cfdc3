"""A shard as bytes: what changed since the last checkpoint, and slices of all of it.

A *delta* holds every row that changed and all sums, a *slice* holds the 1/`SLICES` of all rows whose key falls into it.
Applied in the order in which they were taken, the later rows over the earlier, they give the shard at the last of them;
a delta from before the last full round of slices is not needed. Names stand in each record, so rows go to goals and
dimensions by name and a changed config disturbs nothing else; so does the version, and another one is an error.
"""

from __future__ import annotations

from collections.abc import Iterable

import cramjam
import msgspec
import numpy as np

from monitor.minutes import Told
from monitor.rules import Rules
from monitor.shard import Shard
from monitor.table import Mark, Table

#: Version of the records. Another one is refused with both versions named.
VERSION = 6
#: Into how many slices a shard is cut; a power of two.
SLICES = 64
#: While records are read, forgotten rows that they bring back are dropped once there are so many, and a quarter.
_WORTH = 4_096
#: Of compression: rows shrink to a fourth or less, at some 0.1 µs a row; higher levels gain 2 %.
_LEVEL = 1


#: Kind, goal, currency, decimals; starts of panes (epoch ms), rows, units (as text: they have no bound).
Sum = tuple[str, str, str, int, list[int], list[int], list[str]]


class UnknownVersionError(ValueError):
    """A record of another version of conversion-monitor.

    Attributes:
        found: Its version.
        known: The version that can be read.
    """

    def __init__(self, found: object) -> None:
        self.found, self.known = found, VERSION
        super().__init__(f"state has version {found}, this release reads version {VERSION}")


class Record(msgspec.Struct, array_like=True, frozen=True):
    """One record of a shard's state.

    Attributes:
        watermarks: Source → latest event time counted from it.
        clock_ms: Event time to which the cells were moved.
        segments: Dimension → all its values by number, and the row of each in the cells.
        tables: Table name → packed rows.
        sums: Conversions and revenue: (kind, goal, currency, decimals), then start of the pane, row and units of all
            cells that are not 0; None in a slice.
        goals: Names of the goals.
        minutes: Minutes for the detectors: those that changed, in slice 0 all.
        minutes_taken: Up to which minute stage two has them.
        forgotten: Table name → up to which row its limit made it forget; records of before hold such rows still.
    """

    watermarks: dict[int, int]
    clock_ms: int | None
    segments: dict[str, tuple[list[str], list[int]]]
    tables: dict[str, bytes]
    sums: list[Sum] | None
    goals: list[str]
    minutes: list[Told]
    minutes_taken: int
    forgotten: dict[str, Mark] = {}


def _tables(shard: Shard) -> dict[str, Table]:
    return {
        "visitors": shard.visitors.table,
        "sessions": shard.sessions.table,
        "gap_sessions": shard.gap_sessions.table,
        "event_ids": shard.admission.event_ids.table,
        "transactions": shard.transactions.table,
    }


def delta(shard: Shard) -> bytes:
    """Everything that changed since the last delta; the shard then counts as unchanged."""
    unsaved, shard.minutes.unsaved = shard.minutes.unsaved, set()
    return _encode(shard, {name: t.changed() for name, t in _tables(shard).items()}, _sums(shard), unsaved)


def slice_of(shard: Shard, number: int) -> bytes:
    """All rows of one slice (0 ≤ number < `SLICES`)."""
    minutes = set(shard.minutes.cells) if number == 0 else set()
    return _encode(
        shard, {name: t.in_slice(number, SLICES) for name, t in _tables(shard).items()}, None, minutes
    )


def _encode(shard: Shard, tables: dict[str, bytes], sums: list[Sum] | None, minutes: set[int]) -> bytes:
    segments = {s.dimension.name: (s.names, s.row.tolist()) for s in shard.segments}
    record = Record(
        shard.admission.watermarks,
        shard.panes.clock_ms,
        segments,
        tables,
        sums,
        [goal.name for goal in shard.rules.goals],
        shard.minutes.packed(minutes),
        shard.minutes.taken,
        {name: t.forgotten for name, t in _tables(shard).items() if t.forgotten is not None},
    )
    packed = cramjam.zstd.compress(msgspec.msgpack.encode(record), _LEVEL)
    return msgspec.msgpack.encode((VERSION, bytes(packed)))


def _sums(shard: Shard) -> list[Sum]:
    starts = shard.panes.starts()
    measures = [
        ("conversions", goal.name, "", 0, shard.panes.planes[measure])
        for goal, measure in zip(shard.rules.goals, shard.conversions, strict=True)
    ]
    measures += [
        ("revenue", *key, scale, shard.revenue.cells(key)) for key, scale in shard.revenue.scale.items()
    ]
    sums: list[Sum] = []
    for kind, goal, currency, scale, plane in measures:
        column, row = np.nonzero(plane[: shard.panes.columns])
        units = [str(u) for u in plane[column, row].tolist()]
        sums.append((kind, goal, currency, scale, starts[column].tolist(), row.tolist(), units))
    return sums


def load(rules: Rules, salt: bytes, records: Iterable[bytes]) -> Shard:
    """The shard that these records (oldest first) describe.

    Raises:
        UnknownVersionError: A record was written by another version.
    """
    shard = Shard(rules, salt)
    latest: Record | None = None
    with_sums: Record | None = None
    for data in records:
        latest = _decode(data)
        with_sums = latest if latest.sums is not None else with_sums
        translate = {}
        for segments in shard.segments:
            values, _ = latest.segments.get(segments.dimension.name, ([], []))
            shard.next_row = segments.restore(values, shard.next_row)
            translate[f"seg/{segments.dimension.name}"] = segments.numbers_of(values)
        for name, table in _tables(shard).items():
            table.put(latest.tables[name], translate)
            table.forgotten = latest.forgotten.get(name)
            table.drop_forgotten(at_least=_WORTH + table.size // 4)
        goals = [
            next((g for g, goal in enumerate(rules.goals) if goal.name == n), None) for n in latest.goals
        ]
        shard.minutes.restore(latest.minutes, _row_now(shard, latest), shard.next_row, goals)
        shard.minutes.forget(latest.minutes_taken)
    if latest is None:
        return shard
    for table in _tables(shard).values():
        table.drop_forgotten()
    shard.panes.ensure_rows(shard.next_row)
    shard.admission.watermarks = dict(latest.watermarks)
    if latest.clock_ms is not None:
        shard.panes.advance(latest.clock_ms)
    shard.visitors.place_all()
    shard.sessions.place_all()
    if with_sums is not None:
        _restore_sums(shard, with_sums)
    for table in _tables(shard).values():
        table.marked[:] = False
    shard.minutes.tell_again()
    return shard


def _decode(data: bytes) -> Record:
    found = msgspec.msgpack.decode(data)
    version = found[0] if isinstance(found, list) and found else None
    if version != VERSION:
        raise UnknownVersionError(version)
    _, packed = msgspec.msgpack.decode(data, type=tuple[int, bytes])
    try:
        plain = bytes(cramjam.zstd.decompress(packed))
    except cramjam.DecompressionError as error:
        msg = f"damaged: {error}"
        raise msgspec.DecodeError(msg) from error
    return msgspec.msgpack.decode(plain, type=Record)


def _row_now(shard: Shard, record: Record) -> dict[int, int]:
    """Row of the cells in a record → row in the shard."""
    row_now = {0: 0}
    for segments in shard.segments:
        values, rows = record.segments.get(segments.dimension.name, ([], []))
        row_now |= dict(zip(rows, segments.row[segments.numbers_of(values)].tolist(), strict=True))
    return row_now


def _restore_sums(shard: Shard, record: Record) -> None:
    row_now = _row_now(shard, record)
    measure_of = {g.name: m for g, m in zip(shard.rules.goals, shard.conversions, strict=True)}
    for kind, goal, currency, scale, starts, rows, units in record.sums or ():
        if goal not in measure_of:
            continue
        columns = shard.panes.column(np.array(starts, np.int64)).tolist()
        cells = [
            (c, row_now[r], int(u))
            for c, r, u in zip(columns, rows, units, strict=True)
            if c >= 0 and r in row_now
        ]
        if kind == "revenue":
            shard.revenue.restore((goal, currency), scale, cells)
            continue
        column, row, unit = np.array(cells, np.int64).reshape(-1, 3).T
        shard.panes.add(measure_of[goal], column, row, unit)
