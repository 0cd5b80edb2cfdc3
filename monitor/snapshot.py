"""The totals over all partitions at one moment: immutable, the only thing that metrics, HTTP and page read.

Ratios are 0..1, times are epoch seconds of event time, money is an exact `Decimal` per currency.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from monitor.rates import rate, wilson
from monitor.rules import Rules

#: Dimension and value of the row that is the whole.
ALL = "all"

#: States of a detector, in the order in which it goes through them.
DETECTOR_STATES = ("learning", "insufficient", "watching", "alerting", "frozen")

#: Kinds of alert that exist for every watched series.
ALERT_KINDS = ("rate_drop", "tracking_outage", "traffic_drop", "low_intent_traffic", "stale")

#: Series that one row has itself (visitors, sessions) and at most per goal and per detection row.
_SERIES_PER_ROW = 2
_SERIES_PER_GOAL = 7
_SERIES_PER_DETECTION = 5 + len(DETECTOR_STATES) + len(ALERT_KINDS)


@dataclass(frozen=True, slots=True)
class GoalCounts:
    """What one goal reached in one window and segment.

    Attributes:
        converters: Visitors with at least one conversion in the window; never above the row's visitors.
        conversions: Completed goals (events).
        converting_sessions: Sessions with at least one conversion; never above the row's sessions.
        revenue: Currency (ISO 4217) to exact amount; empty for a goal without revenue.
    """

    converters: int = 0
    conversions: int = 0
    converting_sessions: int = 0
    revenue: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One window of one segment.

    Attributes:
        window: Name of the window, e.g. `5m`.
        dimension: Name of the dimension, `all` for the whole.
        value: Value of the dimension, `all` for the whole.
        visitors: Unique visitors last seen in the window.
        sessions: Sessions active in the window.
        goals: Goal name to its counts; every configured goal is there.
    """

    window: str
    dimension: str
    value: str
    visitors: int
    sessions: int
    goals: Mapping[str, GoalCounts]


@dataclass(frozen=True, slots=True)
class DetectionRow:
    """What the detector of one series (goal × segment value) says.

    Attributes:
        goal: Name of the goal.
        dimension: Name of the dimension, `all` for the whole.
        value: Value of the dimension, `all` for the whole.
        expected: Rate that the baseline expects now (0..1); None while it cannot say.
        state: One of `DETECTOR_STATES`.
        alerts: Kind of alert to whether it is active; kinds that are not named are not, muted ones are named and False.
        lost: Conversions lost since the onset of the active alert; 0 without one.
        probability: Probability (0..1) that the active alert is true; None without one.
        acknowledged: Kinds of open alert that an operator has acknowledged.
        muted: Whether the series is muted.
    """

    goal: str
    dimension: str
    value: str
    expected: float | None = None
    state: str = "learning"
    alerts: Mapping[str, bool] = field(default_factory=dict)
    lost: float = 0.0
    probability: float | None = None
    acknowledged: frozenset[str] = frozenset()
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All numbers of one moment.

    Attributes:
        as_of: Event time (epoch seconds) up to which the windows reach; None before the first event.
        complete: Whether every partition has reported its counts.
        rows: One per window and segment, the whole first.
        alerts: Active and lately resolved alert records (see the contract), most important first.
        detection: One per watched series.
    """

    as_of: float | None
    complete: bool
    rows: tuple[Row, ...]
    alerts: tuple[Mapping[str, Any], ...] = ()
    detection: tuple[DetectionRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Limited:
    """A snapshot cut down to a number of series, and what that left out.

    Attributes:
        snapshot: What is kept; the given object itself if nothing had to go.
        series: Series that are kept.
        dropped_series: Series that were left out.
        dropped_segments: (dimension, value) that were left out, smallest traffic first.
    """

    snapshot: Snapshot
    series: int
    dropped_series: int = 0
    dropped_segments: tuple[tuple[str, str], ...] = ()


def empty_snapshot(rules: Rules, *, complete: bool = False) -> Snapshot:
    """The snapshot before the first event: the whole of every window with every configured goal as 0."""
    goals = {
        goal.name: GoalCounts(revenue={goal.default_currency: Decimal(0)} if goal.revenue else {})
        for goal in rules.goals
    }
    rows = tuple(Row(window.name, ALL, ALL, 0, 0, goals) for window in rules.windows)
    detection = tuple(DetectionRow(goal.name, ALL, ALL, expected=goal.expected_rate) for goal in rules.goals)
    return Snapshot(as_of=None, complete=complete, rows=rows, detection=detection)


def to_api(snapshot: Snapshot, window: str | None = None, dimension: str | None = None) -> dict[str, Any]:
    """The snapshot in the form of `/api/v1/rates`, for orjson; optionally one window or dimension only."""
    return {
        "as_of": snapshot.as_of,
        "complete": snapshot.complete,
        "rows": [
            _api_row(row)
            for row in snapshot.rows
            if window in (None, row.window) and dimension in (None, row.dimension)
        ],
        "alerts": [dict(alert) for alert in snapshot.alerts],
        "detection": [
            _api_detection(seen) for seen in snapshot.detection if dimension in (None, seen.dimension)
        ],
    }


def limit_series(snapshot: Snapshot, max_series: int) -> Limited:
    """Keep at most that many series by leaving out whole segments, smallest traffic first.

    A segment goes with all its windows, so that no panel shows half of it. The whole (`all`) always stays,
    even if it alone is over the limit, and so does the detection row of a series with an active alert.
    Traffic is the most visitors that the segment has in any window: the longest, steady from tick to tick.
    """
    cost: dict[tuple[str, str], int] = {}
    traffic: dict[tuple[str, str], int] = {}
    for row in snapshot.rows:
        segment = (row.dimension, row.value)
        cost[segment] = cost.get(segment, 0) + _series_of(row)
        traffic[segment] = max(traffic.get(segment, 0), row.visitors)
    for seen in snapshot.detection:
        segment = (seen.dimension, seen.value)
        cost[segment] = cost.get(segment, 0) + _SERIES_PER_DETECTION
    total = sum(cost.values())
    if total <= max_series:
        return Limited(snapshot, series=total)
    dropped = []
    left = total
    for segment in sorted(cost, key=lambda s: (traffic.get(s, 0), s)):
        if left <= max_series:
            break
        if segment[0] != ALL:
            dropped.append(segment)
            left -= cost[segment]
    gone = frozenset(dropped)
    detection = tuple(_kept(snapshot.detection, gone))
    left += _SERIES_PER_DETECTION * sum((d.dimension, d.value) in gone for d in detection)
    kept = replace(
        snapshot,
        rows=tuple(row for row in snapshot.rows if (row.dimension, row.value) not in gone),
        detection=detection,
    )
    return Limited(kept, left, total - left, tuple(dropped))


def _kept(detection: Iterable[DetectionRow], gone: frozenset[tuple[str, str]]) -> Iterable[DetectionRow]:
    return (d for d in detection if (d.dimension, d.value) not in gone or any(d.alerts.values()))


def _series_of(row: Row) -> int:
    currencies = sum(len(counts.revenue) for counts in row.goals.values())
    return _SERIES_PER_ROW + _SERIES_PER_GOAL * len(row.goals) + currencies


def _api_row(row: Row) -> dict[str, Any]:
    return {
        "window": row.window,
        "dimension": row.dimension,
        "value": row.value,
        "visitors": row.visitors,
        "sessions": row.sessions,
        "goals": {name: _api_goal(row, counts) for name, counts in row.goals.items()},
    }


def _api_goal(row: Row, counts: GoalCounts) -> dict[str, Any]:
    lower, upper = wilson(counts.converters, row.visitors) or (None, None)
    return {
        "converters": counts.converters,
        "conversions": counts.conversions,
        "converting_sessions": counts.converting_sessions,
        "rate": rate(counts.converters, row.visitors),
        "session_rate": rate(counts.converting_sessions, row.sessions),
        "lower": lower,
        "upper": upper,
        "revenue": {currency: format(amount, "f") for currency, amount in counts.revenue.items()},
    }


def _api_detection(seen: DetectionRow) -> dict[str, Any]:
    return {
        "goal": seen.goal,
        "dimension": seen.dimension,
        "value": seen.value,
        "state": seen.state,
        "expected": seen.expected,
        "alerts": [kind for kind, active in seen.alerts.items() if active],
        "lost_conversions": seen.lost,
        "probability": seen.probability,
        "acknowledged": sorted(seen.acknowledged),
        "muted": seen.muted,
    }
