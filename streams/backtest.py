"""Backtest: minute series from a CSV file through the very detectors that run live.

A row is one minute of one series. Rows may come in any order; a minute without a row is a minute without data; the same
row twice counts once. Everything that cannot be meant is an error with its line.

Longer than 300 lines because of what can be wrong in a file.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.detection.config import MONTH_MINUTES, DetectionConfig, SeriesKey
from monitor.detection.detector import Detector
from monitor.detection.limits import smallest_drop
from streams.errors import MonitorError

Array = NDArray[np.float64]

REQUIRED = ("ts", "series", "visitors", "conversions")
#: Kinds of alert that say that a rate fell; others do not count as found or false.
RATE_KINDS = ("rate_drop", "tracking_outage")
#: Longest time span of a file, in minutes (three years): longer ones are mistaken units.
LONGEST = 3 * 366 * 1440


class SeriesFileError(MonitorError):
    """A file of minute series (or of truth) that cannot be read: names file, line and cell."""


@dataclass
class MinuteSeries:
    """Minute series as arrays.

    Attributes:
        first: Epoch minute of row 0.
        visitors, conversions: [minutes, series], NaN where there is no row.
        keys: Name for the detectors, of each series.
        names: Name as in the file, of each series (the group's name for a whole that was added up).
        notes: What was odd but has a defined meaning.
    """

    first: int
    visitors: Array
    conversions: Array
    keys: list[SeriesKey]
    names: list[str]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Truth:
    """One true drop: times in epoch seconds."""

    series: str
    start: float
    end: float
    drop: float


@dataclass
class Result:
    """Outcome of a backtest."""

    records: list[dict[str, Any]]
    expected: Array
    spread: Array
    detector: Detector


def _number(cell: str | None, column: str, path: Path, line: int) -> float:
    try:
        value = float(cell) if cell else math.nan
    except ValueError:
        value = math.nan
    if math.isnan(value) or math.isinf(value):
        msg = f"{path}:{line}: {column}: {cell!r} is not a number"
        raise SeriesFileError(
            msg, remedy="write a number, or leave the row out if nothing is known of the minute"
        )
    if value < 0:
        msg = f"{path}:{line}: {column}: {cell} is negative"
        raise SeriesFileError(msg, remedy="counts are 0 or more")
    return value


def read_series(path: Path) -> MinuteSeries:
    """Read a file of minute series.

    Raises:
        SeriesFileError: With file, line and column.
    """
    cells: dict[tuple[str, str, str, str], dict[int, tuple[float, float, int]]] = {}
    repeats = without = more = 0
    with path.open(newline="", encoding="utf-8-sig") as f:
        reader = csv.reader(f)
        header = [h.strip() for h in next(reader, [])]
        missing = [c for c in REQUIRED if c not in header]
        if missing:
            msg = f"{path}:1: column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing"
            raise SeriesFileError(msg, remedy=f"the first line names the columns: {','.join(REQUIRED)}")
        at = {name: header.index(name) for name in (*REQUIRED, "goal", "group", "segment") if name in header}
        width = max(at[c] for c in REQUIRED) + 1
        for row in reader:
            line = reader.line_num
            if not row or not any(row):
                continue
            if len(row) < width:
                msg = f"{path}:{line}: {len(row)} cells instead of {len(header)}"
                raise SeriesFileError(msg)
            names = {k: row[i].strip() if i < len(row) else "" for k, i in at.items()}
            if not names["series"]:
                msg = f"{path}:{line}: series: empty"
                raise SeriesFileError(msg, remedy="every row names its series")
            minute = int(_number(names["ts"], "ts", path, line) // 60)
            n = _number(names["visitors"], "visitors", path, line)
            x = _number(names["conversions"], "conversions", path, line)
            key = (
                names["series"],
                names.get("goal", "") or "conversion",
                names.get("group", ""),
                names.get("segment", ""),
            )
            mine = cells.setdefault(key, {})
            old = mine.get(minute)
            if old is not None:
                if old[:2] != (n, x):
                    again = f"minute {minute * 60} of series {key[0]!r} again"
                    msg = f"{path}:{line}: {again}, with other numbers than in line {old[2]}"
                    raise SeriesFileError(msg, remedy="one row per minute and series")
                repeats += 1
                continue
            mine[minute] = (n, x, line)
            without += n == 0 and x > 0
            more += x > n > 0
    if not cells:
        msg = f"{path}: no rows"
        raise SeriesFileError(msg)
    out = _arrays(path, cells)
    for count, text in (
        (repeats, "rows that repeat another exactly were counted once"),
        (without, "minutes have conversions but no visitors (taken as conversions of earlier visitors)"),
        (more, "minutes have more conversions than visitors (taken as they are)"),
    ):
        if count:
            out.notes.append(f"{count} {text}")
    return out


def _arrays(
    path: Path, cells: dict[tuple[str, str, str, str], dict[int, tuple[float, float, int]]]
) -> MinuteSeries:
    first = min(min(rows) for rows in cells.values())
    last = max(max(rows) for rows in cells.values())
    if last - first > LONGEST:
        msg = f"{path}: ts spans {(last - first) / 525_960:.0f} years"
        raise SeriesFileError(msg, remedy="ts is epoch seconds (not milliseconds)")
    size = last - first + 1
    n, x = np.full((size, len(cells)), np.nan), np.zeros((size, len(cells)))
    keys, names, notes = [], [], []
    for c, ((series, goal, group, segment), rows) in enumerate(cells.items()):
        index = np.fromiter(rows, np.int64, len(rows)) - first
        values = np.array([v[:2] for v in rows.values()])
        n[index, c], x[index, c] = values[:, 0], values[:, 1]
        if values[:, 1].sum() > values[:, 0].sum():
            msg = f"{path}: series {series!r} has more conversions than visitors in all"
            raise SeriesFileError(msg, remedy="are the columns visitors and conversions swapped?")
        keys.append(
            SeriesKey(goal, group, segment or series, group) if group else SeriesKey(goal, group=series)
        )
        names.append(series)
        if not group:
            notes += _renamed(series, goal, rows, cells)
    if len(set(keys)) < len(keys):
        double = next(k for k in keys if keys.count(k) > 1)
        msg = f"{path}: two series are segment {double.value!r} of group {double.group!r}"
        raise SeriesFileError(msg, remedy="a segment of a group is one series")
    wholes: dict[tuple[str, str], list[int]] = {}
    for c, k in enumerate(keys):
        if not k.is_whole:
            wholes.setdefault((k.group, k.goal), []).append(c)
    for (group, goal), cols in wholes.items():
        known = ~np.isnan(n[:, cols]).all(1)
        n = np.column_stack([n, np.where(known, np.nansum(n[:, cols], axis=1), np.nan)])
        x = np.column_stack([x, x[:, cols].sum(1)])
        keys.append(SeriesKey(goal, group=group))
        names.append(group)
    return MinuteSeries(first, n, x, keys, names, notes)


def _renamed(
    series: str, goal: str, rows: dict[int, Any], cells: dict[tuple[str, str, str, str], dict[int, Any]]
) -> list[str]:
    end = max(rows)
    return [
        f"series {series!r} ends where {other[0]!r} begins: if it was renamed, the new name learns from nothing"
        for other, theirs in cells.items()
        if other[1] == goal and not other[2] and 0 < min(theirs) - end <= 2
    ]


def read_truth(path: Path) -> list[Truth]:
    """Read true drops: columns `series,start,end,drop`, times in epoch seconds."""
    with path.open(newline="", encoding="utf-8-sig") as f:
        reader = csv.DictReader(f)
        missing = [c for c in ("series", "start", "end", "drop") if c not in (reader.fieldnames or [])]
        if missing:
            msg = f"{path}:1: columns {', '.join(missing)} missing"
            raise SeriesFileError(msg, remedy="the first line is series,start,end,drop")
        out = []
        for row in reader:
            line = reader.line_num
            start, end, drop = (_number(row[c], c, path, line) for c in ("start", "end", "drop"))
            if end <= start:
                msg = f"{path}:{line}: end {row['end']} is not after start {row['start']}"
                raise SeriesFileError(msg)
            out.append(Truth(row["series"] or "", start, end, drop))
    return out


def run(
    series: MinuteSeries, config: DetectionConfig, progress: Callable[[int], None] = lambda _: None
) -> Result:
    """Run the detectors over all minutes; `progress` is told the minutes done."""
    detector = Detector(config, series.keys)
    named = {
        (k.goal, k.dimension, k.value, k.group): name
        for k, name in zip(series.keys, series.names, strict=True)
    }
    last: dict[str, int] = {}
    for c, k in enumerate(series.keys):
        rows = np.flatnonzero(~np.isnan(series.visitors[:, c]))
        last[k.group] = max(last.get(k.group, 0), int(rows[-1]) + series.first if len(rows) else 0)
    records: list[dict[str, Any]] = []
    ignored: set[str] = set()
    hours, expected, spread = 0, [], []
    at = 0
    while at < len(series.visitors):
        size = min(60 - (series.first + at) % 60, len(series.visitors) - at)
        rate, sd = (
            detector.expectation_now()
            if detector.minute is not None
            else (np.full(len(series.keys), np.nan),) * 2
        )
        expected.append(np.repeat(rate[None], size, 0))
        spread.append(np.repeat(sd[None], size, 0))
        for change in detector.run(
            series.first + at, series.visitors[at : at + size], series.conversions[at : at + size]
        ):
            r = dict(change.record)
            key = change.key
            if r["kind"] == "stale" and r["onset_at"] // 60 > last[key.group]:
                ignored.add(r["alert_id"])
            if r["alert_id"] not in ignored:
                r["series"] = named[key.goal, key.dimension, key.value, key.group]
                records.append(r)
        at += size
        hours += 1
        progress(size)
    return Result(records, np.concatenate(expected), np.concatenate(spread), detector)


def table(series: MinuteSeries, result: Result, truth: list[Truth] | None) -> list[dict[str, Any]]:
    """One row a series: what was found, and against the truth if it is known."""
    out = []
    for c, name in enumerate(series.names):
        firing = {
            r["alert_id"]: r
            for r in reversed(result.records)
            if (r["series"], r["goal"]) == (name, series.keys[c].goal) and r["state"] == "firing"
        }
        rate = [r for r in firing.values() if r["kind"] in RATE_KINDS]
        known = ~np.isnan(series.visitors[:, c])
        row: dict[str, Any] = {
            "series": name,
            "goal": series.keys[c].goal,
            "days": round(float(known.sum()) / 1440, 1),
            "conversions_per_hour": round(
                float(series.conversions[known, c].sum() / max(known.sum(), 1) * 60), 1
            ),
            "alerts": len(rate),
            "other_alerts": len(firing) - len(rate),
        }
        if truth is not None:
            mine = [t for t in truth if t.series == name]
            found = [[r for r in rate if t.start < r["raised_at"] <= t.end] for t in mine]
            delays = [
                (f[0]["raised_at"] - t.start) / 60 if f else math.inf
                for t, f in zip(mine, found, strict=True)
            ]
            true = {r["alert_id"] for f in found for r in f}
            median = float(np.median(delays)) if delays else math.nan
            row |= {
                "drops": len(mine),
                "found": sum(1 for f in found if f),
                "median_delay_minutes": round(median, 1) if math.isfinite(median) else None,
                "false_alarms_per_month": round(
                    (len(rate) - len(true)) / max(known.sum() / MONTH_MINUTES, 1e-9), 2
                ),
            }
        out.append(row)
    return out


def limits(series: MinuteSeries, result: Result, config: DetectionConfig) -> list[dict[str, Any]]:
    """Smallest drop that each series shows within 10 minutes, an hour and a day, from its own traffic and noise."""
    white, slow, base, per_minute = result.detector.noise_of_series()
    between = config.minutes_between_alarms(len(series.keys))
    out = []
    for c, name in enumerate(series.names):
        own = (
            {"white": float(white[c]), "slow": float(slow[c]), "base": float(base[c])}
            if per_minute[c] > 0
            else {}
        )
        known = ~np.isnan(series.visitors[:, c])
        mean = float(per_minute[c]) or float(series.conversions[known, c].sum() / max(known.sum(), 1))
        row: dict[str, Any] = {
            "series": name,
            "goal": series.keys[c].goal,
            "conversions_per_hour": round(60 * mean, 1),
        }
        for label, minutes in (("10_minutes", 10), ("1_hour", 60), ("1_day", 1440)):
            row[label] = smallest_drop(mean, minutes, between, **own)
        out.append(row)
    return out
