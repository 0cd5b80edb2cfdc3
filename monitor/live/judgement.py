"""Whether it is normal, in words: levels, statuses and the headline of the live page and of `top`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from monitor.snapshot import ALL, DetectionRow, Snapshot

#: How well a goal or the whole is: conversions are missing · look at it · normal · cannot tell yet.
Level = Literal["bad", "warn", "ok", "unknown"]

#: States in which an alert record is active.
ACTIVE = ("firing", "updated")

#: Kind of alert to its level and to what it says of a goal; the first that is active speaks.
_KINDS: dict[str, tuple[Level, str]] = {
    "tracking_outage": ("bad", "tracking stopped"),
    "rate_drop": ("bad", "below normal"),
    "traffic_drop": ("warn", "fewer visitors than normal"),
    "stale": ("warn", "no fresh data"),
    "low_intent_traffic": ("warn", "many visitors, few intend to convert"),
}

_STATES: dict[str, tuple[Level, str]] = {
    "learning": ("unknown", "learning what is normal"),
    "insufficient": ("unknown", "too few conversions to judge"),
    "watching": ("ok", "as expected"),
    "alerting": ("bad", "below normal"),
    "frozen": ("warn", "paused: no data to judge"),
}

_SEVERITY: dict[Level, int] = {"bad": 0, "warn": 1, "unknown": 2, "ok": 3}


def title_of(goal: str) -> str:
    """The name of a goal as people write it.

    >>> title_of("pricing_link")
    'Pricing link'
    """
    words = goal.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def judge(seen: DetectionRow | None, alerts: Iterable[Mapping[str, Any]] = ()) -> tuple[Level, str]:
    """Level of a series and its words: an active alert says it, else the state of its detector."""
    where = {str(alert.get("kind")): _where(alert) for alert in alerts}
    active = set(where)
    if seen is not None:
        active |= {kind for kind, is_active in seen.alerts.items() if is_active}
    for kind, (level, status) in _KINDS.items():
        if kind in active:
            return level, status + where.get(kind, "")
    if seen is None:
        return "unknown", "not watched"
    return _STATES.get(seen.state, ("unknown", seen.state))


def _where(alert: Mapping[str, Any]) -> str:
    dimension = alert.get("dimension") or ALL
    return "" if dimension == ALL else f" for {dimension} {alert.get('value')}"


def headline(
    snapshot: Snapshot, goals: Sequence[Mapping[str, Any]], alerts: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """What a person should read first: `level`, `title` and `text`.

    Args:
        snapshot: The numbers.
        goals: The judged goals of the view (`title`, `level`, `status`).
        alerts: The active alert records.
    """
    if snapshot.as_of is None:
        return _said(
            "unknown",
            "Waiting for the first event",
            "Numbers appear within seconds of the first event on the topic.",
        )
    if alerts:
        return _of_alerts(alerts)
    troubled = [goal for goal in goals if goal["level"] in ("bad", "warn")]
    if troubled:
        worst = min(troubled, key=lambda goal: _SEVERITY[goal["level"]])
        return _said(worst["level"], f"{worst['title']}: {worst['status']}", "In the last closed minutes.")
    if not snapshot.complete:
        text = "Some partitions have not reported since the start: numbers are too low until they do."
        return _said("warn", "Not all data is in yet", text)
    return _of_quiet(snapshot, goals)


def _of_alerts(alerts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    order = list(_KINDS)
    first = min(alerts, key=lambda alert: order.index(alert["kind"]) if alert.get("kind") in order else -1)
    others = len(alerts) - 1
    more = f" {others} more alert{'s' if others > 1 else ''} below." if others else ""
    level = _KINDS.get(str(first.get("kind")), ("warn", ""))[0]
    return _said(level, alert_title(first), str(first.get("summary") or "") + more)


def _of_quiet(snapshot: Snapshot, goals: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    if not snapshot.detection:
        text = "No detector watches these goals, so whether their rates are normal is not said."
        return _said("unknown", "Rates are live", text)
    judged = [str(goal["title"]) for goal in goals if goal["level"] == "ok"]
    learning = [str(goal["title"]) for goal in goals if goal["level"] != "ok"]
    if not judged:
        text = "Rates are exact already; whether they are normal is known after enough conversions."
        return _said("unknown", "Learning what is normal", text)
    who = f"{judged[0]} converts" if len(judged) == 1 else f"{len(judged)} goals convert"
    if learning:
        return _said("ok", "All is normal", f"{who} as expected. Too early to judge: {', '.join(learning)}.")
    return _said("ok", "All is normal", f"{'All ' if len(judged) > 1 else ''}{who} as expected.")


def alert_title(alert: Mapping[str, Any]) -> str:
    """A few words for an alert record, and what operators said of it while it is active."""
    kind = str(alert.get("kind"))
    goal = title_of(str(alert.get("goal") or ""))
    titles = {
        "rate_drop": f"{goal} rate fell",
        "tracking_outage": f"{goal} is no longer tracked",
        "traffic_drop": "Traffic fell",
        "low_intent_traffic": "High traffic, low intent",
        "stale": "No fresh data",
    }
    said = [word for word in ("acknowledged", "muted") if alert.get(word) and alert.get("state") in ACTIVE]
    return ", ".join([titles.get(kind, f"{goal}: {kind}"), *said])


def _said(level: Level, title: str, text: str) -> dict[str, str]:
    return {"level": level, "title": title, "text": text}
