"""The one sentence for people; every number in it can be recomputed from the alert record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

#: Probability from which on → words. Below the last it is "perhaps".
WORDS = ((0.98, "very likely"), (0.9, "likely"), (0.6, "probably"), (0.0, "perhaps"))

#: Times are given with the date if an alert is older than this (seconds).
DATE_AFTER = 20 * 3600


def percent(ratio: float) -> str:
    """A rate as people write it: two digits that matter, `3.4 %`, `0.27 %`, `0 %`."""
    p = 100.0 * ratio
    if p == 0:
        return "0 %"
    if p >= 9.95:
        return f"{p:.0f} %"
    return f"{p:.1f} %" if p >= 0.995 else f"{p:.2g} %"


def clock(at: float, utc_offset_minutes: int, *, date: bool = False) -> str:
    """Local time of day, `14:07`; with the date, `21 Nov 14:07`."""
    local = datetime.fromtimestamp(at, UTC) + timedelta(minutes=utc_offset_minutes)
    return f"{local.day} {local:%b %H:%M}" if date else f"{local:%H:%M}"


def name_of(goal: str) -> str:
    """Goal as a word in a sentence."""
    words = goal.replace("_", " ").strip() or "conversion"
    return words[0].upper() + words[1:]


def _where(record: Mapping[str, Any]) -> str:
    parts = record.get("segments") or []
    own = "" if record["dimension"] in ("all", "") else f" of {record['dimension']}={record['value']}"
    if not parts or (len(parts) == 1 and parts[0]["value"] == record["value"]):
        return own
    names = ", ".join(f"{p['value']} ({100 * p['share']:.0f} %)" for p in parts[:3])
    only = "almost only " if sum(p["share"] for p in parts[:3]) >= 0.9 else "mostly "
    return f"{own}, {only}{names}"


def _sure(record: Mapping[str, Any]) -> str:
    p = float(record["probability"])
    word = next(w for least, w in WORDS if p >= least)
    at_least = record.get("at_least_drop")
    tail = f" at least {100 * at_least:.0f} % down" if at_least else " down"
    return f"{word} ({min(100 * p, 99):.0f} %){tail}"


def _lost(record: Mapping[str, Any]) -> str:
    n = float(record["lost_conversions"])
    digits = max(0, len(f"{n:.0f}") - 2)
    about = round(n / 10**digits) * 10**digits
    return f"about {about} conversions lost" + (" in all" if record["state"] == "resolved" else " so far")


def summary(record: Mapping[str, Any], utc_offset_minutes: int = 0) -> str:
    """The sentence of a record.

    Args:
        record: The alert record, all fields but `summary`.
        utc_offset_minutes: Local time.
    """
    goal, kind = name_of(record["goal"]), record["kind"]
    date = record["changed_at"] - record["onset_at"] > DATE_AFTER
    since = clock(record["onset_at"], utc_offset_minutes, date=date)
    until = (
        f" until {clock(record['resolved_at'], utc_offset_minutes, date=date)}"
        if record["resolved_at"]
        else ""
    )
    if kind == "stale":
        out = f"No data since {since}{until}: the stream stands still, rates are unknown"
    elif kind == "traffic_drop":
        share = f"{record['visitors_ratio'] * 100:.0f} % of the usual visitors"
        out = f"Traffic fell since {since}{until}: {share}; rates are judged per visitor"
    elif kind == "low_intent_traffic":
        brought = "".join(f", brought by {p['dimension']}={p['value']}" for p in record["segments"][:1])
        rate = f"{percent(record['observed_ratio'])} instead of {percent(record['expected_ratio'])}"
        out = (
            f"High traffic, low conversions since {since}{until}: "
            f"{record['visitors_ratio'] * 100:.0f} % of the usual visitors{brought}; "
            f"{goal} rate {rate}, but conversions did not fall"
        )
    else:
        rate = (
            f"{goal} rate {percent(record['observed_ratio'])} instead of {percent(record['expected_ratio'])}"
        )
        out = f"{rate} since {since}{until}{_where(record)}; {_sure(record)}; {_lost(record)}"
        if kind == "tracking_outage":
            out = f"Tracking looks broken: {out[0].lower() + out[1:]}"
    if record.get("flapping"):
        out += f"; flapping, came back {record['flaps']} times"
    if record.get("adopted"):
        out += "; the new level is now taken as normal"
    if record.get("release"):
        out += f"; {record['release']}"
    return out + "."
