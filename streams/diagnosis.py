"""What the doctor makes of what it saw: pure functions from observations to findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from monitor.placement import Placement
from streams.embedded import CLUSTER_ID_PREFIX

#: Share of keyed messages at a wrong place that must agree with CRC32 to blame librdkafka.
CRC32_SHARE = 0.9
#: Age of the first message that is not committed yet, in seconds, from which it is worth a note, or wrong.
#: Commits come every few seconds, so a healthy worker is a little behind.
LAG_NOTE_S, LAG_WRONG_S = 30.0, 120.0
#: How far event times or the broker's clock may be ahead before it is noted, in seconds.
AHEAD_NOTE_S = 5.0
#: Median age of an event at its arrival, in seconds, from which it is noted.
OLD_AT_ARRIVAL_S = 600.0

Status = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: `broker`, `topics`, `keys`, `contract`, `lag`, `clock`.
        status: `note` is allowed and worth a thought; `wrong` makes the numbers wrong, or stops them.
        detail: What was seen.
        remedy: What to do about it.
    """

    check: str
    status: Status
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Arrival:
    """Times of one event, epoch seconds: when it happened, and when it was appended to the topic."""

    happened: float
    appended: float


def judge_broker(bootstrap: str, cluster_id: str) -> Finding:
    """Which broker answers."""
    if cluster_id.startswith(CLUSTER_ID_PREFIX):
        detail = f"{bootstrap} is the embedded broker: in memory, this machine only"
        return Finding("broker", "ok", detail)
    return Finding("broker", "ok", f"{bootstrap} answers, cluster {cluster_id}")


def judge_source(topic: str, found: Mapping[str, int], *, may_create: bool) -> Finding:
    """Whether the event topic is there."""
    if topic in found:
        count = found[topic]
        return Finding("topics", "ok", f"{topic} has {count} partition{'s' if count != 1 else ''}")
    if may_create:
        return Finding("topics", "note", f"no topic {topic} yet", "the first worker creates it")
    return Finding(
        "topics", "wrong", f"no topic {topic}", "is --topic right? A worker or `publish` creates it"
    )


def judge_keys(seen: Placement, partitions: int) -> Finding:
    """Whether messages are keyed by visitor and all placed by the same hash."""
    n = seen.sampled
    escape = "or set kafka.keyed_by_visitor: false here"
    if n == 0:
        return Finding("keys", "note", "no messages to judge keys by")
    if seen.without_key:
        detail = f"{seen.without_key} of {n} recent messages have no key: their visitors are in any partition"
        return Finding("keys", "wrong", detail, f"send visitor_id as the key, {escape}")
    if seen.other_key:
        detail = f"{seen.other_key} of {n} recent messages have a key that is not their visitor_id"
        if seen.split_visitors:
            detail += f"; {seen.split_visitors} visitors are in several partitions"
        return Finding("keys", "wrong", detail, f"send visitor_id as the key, as plain UTF-8 text, {escape}")
    misplaced = seen.by_crc32 + seen.elsewhere
    if not misplaced:
        where = "one partition" if partitions == 1 else "where murmur2 puts them"
        return Finding("keys", "ok", f"{n} recent messages are keyed by visitor and lie {where}")
    split = f"; {seen.split_visitors} visitors are in several partitions" if seen.split_visitors else ""
    if seen.by_crc32 >= CRC32_SHARE * misplaced:
        detail = f"{seen.by_crc32} of {n} recent messages: a librdkafka client placed them by CRC32"
        return Finding("keys", "wrong", detail + split, f"set partitioner=murmur2_random there, {escape}")
    detail = f"{misplaced} of {n} recent messages lie where neither murmur2 nor CRC32 puts their key"
    remedy = "has the number of partitions changed, or does a publisher choose the partition itself? "
    return Finding("keys", "wrong", detail + split, f"{remedy}Place by murmur2 of the key, {escape}")


def judge_contract(sampled: int, reasons: Mapping[str, int]) -> Finding:
    """Whether recent messages are events that can be counted."""
    bad = sum(reasons.values())
    if not bad:
        detail = f"{sampled} recent messages can all be counted" if sampled else "no messages yet"
        return Finding("contract", "ok" if sampled else "note", detail)
    by_reason = ", ".join(f"{reason} {count}" for reason, count in Counter(reasons).most_common())
    detail = f"{bad} of {sampled} recent messages are rejected: {by_reason}"
    remedy = "the dead letter topic holds them with reason and detail; `schema event` prints the contract"
    return Finding("contract", "wrong" if bad == sampled else "note", detail, remedy)


def judge_clock(arrivals: Sequence[Arrival], now_s: float, max_in_future_s: float) -> Finding:
    """Whether the clocks of publishers, brokers and this machine agree."""
    if not arrivals:
        return Finding("clock", "note", "no events to judge clocks by")
    broker_ahead = max(a.appended for a in arrivals) - now_s
    if broker_ahead > AHEAD_NOTE_S:
        detail = f"messages were appended {_span(broker_ahead)} after now: brokers' and this clock differ"
        return Finding("clock", "wrong", detail, "let NTP set the clocks of all machines")
    ahead = max(a.happened for a in arrivals) - now_s
    if ahead > max_in_future_s:
        detail = f"event times are up to {_span(ahead)} ahead of now, and such events are rejected"
        remedy = "is local time sent as UTC? Set publishers' clocks by NTP, or raise max_in_future"
        return Finding("clock", "wrong", detail, remedy)
    delay = median(a.appended - a.happened for a in arrivals)
    if ahead > AHEAD_NOTE_S:
        return Finding(
            "clock", "note", f"event times are up to {_span(ahead)} ahead of now", "let NTP set clocks"
        )
    if delay > OLD_AT_ARRIVAL_S:
        detail = f"half of the events were over {_span(delay)} old as they arrived"
        remedy = (
            "a replay needs clock: event; otherwise, is local time sent as UTC, or does a publisher buffer?"
        )
        return Finding("clock", "note", detail, remedy)
    return Finding("clock", "ok", f"events arrive {_span(max(delay, 0.0))} after they happened (median)")


def judge_lag(group: str, committed: int, partitions: int, lag: int, age_s: float) -> Finding:
    """Whether workers keep up.

    Args:
        group: Consumer group.
        committed: Partitions of which it has committed an offset.
        partitions: All there are.
        lag: Messages that are not committed.
        age_s: How long the first of these has been in its partition, in seconds.
    """
    if committed == 0:
        remedy = "start one: conversion-monitor run --config …"
        return Finding("lag", "note", f"group {group} has committed nothing: no worker has run yet", remedy)
    behind = f"group {group} is {lag:,} messages behind, the oldest {_span(age_s)} old"
    if age_s > LAG_WRONG_S:
        return Finding(
            "lag", "wrong", behind, "is a worker running? If it is, add workers, up to one a partition"
        )
    if committed < partitions:
        detail = f"group {group} has committed {committed} of {partitions} partitions"
        return Finding(
            "lag", "note", detail, "the others have had no messages, or their worker has just begun"
        )
    return Finding(
        "lag", "note" if age_s > LAG_NOTE_S else "ok", behind if lag else f"group {group} is up to date"
    )


def _span(seconds: float) -> str:
    """A span of time for people: `0.3 s`, `12 s`, `4 min`, `2.0 h`, `1,234 days`."""
    for limit, unit, digits in ((10, 1, ".1f"), (120, 1, ".0f")):
        if seconds < limit:
            return f"{seconds / unit:{digits}} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:,.0f} days"
