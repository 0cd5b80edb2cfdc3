"""What the live page and `conversion-monitor top` say: a snapshot, judged and put in order for people.

Built once per window and snapshot, whoever looks. Ratios are 0..1, times epoch seconds of event time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monitor.history import History
from monitor.live.judgement import ACTIVE, alert_title, headline, judge, title_of
from monitor.rates import rate, wilson
from monitor.rules import Rules
from monitor.snapshot import ALL, DetectionRow, GoalCounts, Row, Snapshot

#: Segments of a goal that the page shows; those that lost most, then the largest.
MAX_SEGMENTS = 24

#: Alert records that the page shows, active ones first.
MAX_ALERTS = 20


@dataclass(frozen=True, slots=True)
class _Scene:
    """What every part of the view is made from."""

    snapshot: Snapshot
    window: str
    history: History
    rows: Mapping[tuple[str, str], Row]
    detection: Mapping[tuple[str, str, str], DetectionRow]
    alerts: tuple[Mapping[str, Any], ...]


def live_view(snapshot: Snapshot, rules: Rules, history: History, window: str) -> dict[str, Any]:
    """All that the page shows of one window, ready for orjson.

    Raises:
        ValueError: No such window.
    """
    if window not in {known.name for known in rules.windows}:
        message = f"no window {window!r}"
        raise ValueError(message)
    scene = _Scene(
        snapshot,
        window,
        history,
        {(row.dimension, row.value): row for row in snapshot.rows if row.window == window},
        {(seen.goal, seen.dimension, seen.value): seen for seen in snapshot.detection},
        tuple(alert for alert in snapshot.alerts if not _is_over(alert)),
    )
    whole = scene.rows.get((ALL, ALL)) or Row(window, ALL, ALL, 0, 0, {})
    goals = [_goal(scene, whole, goal.name, goal.kind) for goal in rules.goals]
    return {
        "as_of": snapshot.as_of,
        "complete": snapshot.complete,
        "window": window,
        "windows": [known.name for known in rules.windows],
        "clock": rules.clock,
        "visitors": whole.visitors,
        "sessions": whole.sessions,
        "watched": bool(snapshot.detection),
        "headline": headline(snapshot, goals, scene.alerts),
        "goals": goals,
        "alerts": [_alert(alert) for alert in sorted(snapshot.alerts, key=_is_over)[:MAX_ALERTS]],
    }


def _goal(scene: _Scene, whole: Row, name: str, kind: str) -> dict[str, Any]:
    counts = whole.goals.get(name, GoalCounts())
    seen = scene.detection.get((name, ALL, ALL))
    alerts = [alert for alert in scene.alerts if alert.get("goal") == name]
    level, status = judge(seen, alerts)
    blamed = _blamed(alerts)
    segments = [
        _segment(scene, row, name, blamed.get((row.dimension, row.value)))
        for row in scene.rows.values()
        if row.dimension != ALL and row.visitors
    ]
    segments.sort(key=_most_lost_first)
    return {
        "name": name,
        "title": title_of(name),
        "kind": kind,
        "level": level,
        "status": status,
        **_numbers(whole, counts),
        "expected": _expected(scene, seen),
        "conversions": counts.conversions,
        "converting_sessions": counts.converting_sessions,
        "session_rate": rate(counts.converting_sessions, whole.sessions),
        "revenue": {currency: format(amount, "f") for currency, amount in counts.revenue.items()},
        "lost": max(
            seen.lost if seen else 0.0, *(float(a.get("lost_conversions") or 0.0) for a in alerts), 0.0
        ),
        "segments": segments[:MAX_SEGMENTS],
        "more_segments": max(0, len(segments) - MAX_SEGMENTS),
    }


def _most_lost_first(segment: Mapping[str, Any]) -> tuple[object, ...]:
    missing = segment["missing"] or 0.0
    return segment["level"] != "bad", -missing, -segment["visitors"], segment["dimension"], segment["value"]


def _blamed(alerts: list[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Segment → share (0..1) of the loss that active alerts ascribe to it."""
    blamed: dict[tuple[str, str], float] = {}
    for alert in alerts:
        if alert.get("dimension", ALL) != ALL:
            blamed[str(alert["dimension"]), str(alert.get("value"))] = 1.0
        for part in alert.get("segments") or ():
            blamed[str(part["dimension"]), str(part["value"])] = float(part["share"])
    return blamed


def _segment(scene: _Scene, row: Row, goal: str, share: float | None) -> dict[str, Any]:
    counts = row.goals.get(goal, GoalCounts())
    seen = scene.detection.get((goal, row.dimension, row.value))
    expected = _expected(scene, seen)
    numbers = _numbers(row, counts)
    level, status = judge(seen) if seen is not None else ("none", "")
    # Over longer windows a visitor counts under his latest channel alone, and the expectation is that of all his minutes:
    # there only the detectors tell.
    told = scene.history.counts_minutes(scene.window) or level == "bad" or share is not None
    below = told and expected is not None and numbers["upper"] is not None and numbers["upper"] < expected
    missing = expected * row.visitors - counts.converters if expected is not None and below else None
    if share is not None:
        level, status = "bad", f"{share * 100:.0f} % of the loss"
    elif level == "ok" and below:
        level, status = "warn", "lower than expected"
    return {
        "dimension": row.dimension,
        "value": row.value,
        "visitors": row.visitors,
        "level": level,
        "status": status,
        **numbers,
        "expected": expected,
        "missing": missing,
    }


def _alert(alert: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **alert,
        "title": alert_title(alert),
        "level": judge(None, [alert])[0],
        "active": not _is_over(alert),
    }


def _is_over(alert: Mapping[str, Any]) -> bool:
    return alert.get("state") not in ACTIVE


def _numbers(row: Row, counts: GoalCounts) -> dict[str, Any]:
    lower, upper = wilson(counts.converters, row.visitors) or (None, None)
    return {
        "converters": counts.converters,
        "rate": rate(counts.converters, row.visitors),
        "lower": lower,
        "upper": upper,
    }


def _expected(scene: _Scene, seen: DetectionRow | None) -> float | None:
    if seen is None or seen.expected is None:
        return None
    return scene.history.in_window(seen.expected, scene.window, seen.goal)
