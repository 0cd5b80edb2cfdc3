"""Runs the detectors over simulated streams and scores what they said."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from monitor.detection.config import DetectionConfig, SeriesKey
from monitor.detection.detector import Detector
from tests.detection.simulate import Drop, Streams

RATE_KINDS = ("rate_drop", "tracking_outage")


@dataclass
class Alert:
    """All records of one alert; times are rows of the stream."""

    unit: int
    raised: int
    onset: int
    resolved: float
    kind: str
    probability: float
    records: list[dict] = field(default_factory=list)

    def kind_at(self, row: float, first_minute: int) -> str:
        said = [r["kind"] for r in self.records if r["changed_at"] / 60 - first_minute <= row]
        return said[-1] if said else self.kind

    def segments_at(self, row: float, first_minute: int) -> set[str]:
        said = [r["segments"] for r in self.records if r["changed_at"] / 60 - first_minute <= row]
        return {p["value"] for p in (said[-1] if said else [])}


def alerts_of(streams: Streams, config: DetectionConfig) -> list[Alert]:
    """Run the detectors as a fleet and gather records into alerts."""
    keys = [
        SeriesKey("purchase", d, v, f"u{u:03d}")
        for u, (d, v) in zip(streams.members, streams.labels, strict=True)
    ]
    detector = Detector(config, keys)
    out: dict[str, Alert] = {}
    for change in detector.run(streams.first_minute, streams.visitors, streams.conversions):
        r = change.record
        row = int(r["changed_at"] // 60) - streams.first_minute
        name = r["alert_id"]
        if r["state"] == "firing" and name not in out:
            unit = int(r["series"].split("/")[0][1:])
            onset = int(r["onset_at"] // 60) - streams.first_minute
            out[name] = Alert(unit, row, onset, math.inf, r["kind"], r["probability"])
        alert = out[name]
        alert.records.append(r)
        alert.resolved = row if r["state"] == "resolved" else math.inf
    return list(out.values())


def default_config() -> DetectionConfig:
    """Defaults, as a user gets them."""
    return DetectionConfig()


@dataclass
class NullResult:
    """False alarms of a null class at one traffic level."""

    months: float
    false: list[Alert]
    others: int


def score_null(streams: Streams, config: DetectionConfig) -> NullResult:
    """Every alert about a rate is false; one about traffic is right only in unusual traffic."""
    scored = [a for a in alerts_of(streams, config) if a.raised > streams.warmup]
    false = []
    for a in scored:
        kinds = {r["kind"] for r in a.records}
        if kinds & set(RATE_KINDS):
            false.append(a)
        elif "low_intent_traffic" in kinds and not any(
            u == a.unit and start <= a.raised <= end for u, start, end in streams.surges
        ):
            false.append(a)
    return NullResult(streams.unit_months, false, len(scored) - len(false))


@dataclass
class DropResult:
    """How the planted drops were found; one entry a drop."""

    delays: list[float]
    onset_errors: list[float]
    repeats: int
    recoveries: list[float]
    kinds: list[bool]
    segments: list[bool]
    held: list[bool]
    probabilities: list[float]
    false: int
    months: float

    @property
    def drops(self) -> int:
        return len(self.delays)

    @property
    def median(self) -> float:
        return float(np.median(self.delays)) if self.delays else math.nan

    @property
    def p90(self) -> float:
        return float(np.quantile(self.delays, 0.9, method="higher")) if self.delays else math.nan


NAMES = ("desktop", "mobile", "tablet", "tv")


def score_drops(streams: Streams, config: DetectionConfig) -> DropResult:
    """Match alerts with drops: found = first alert raised within the drop; missed, or already alarming, = infinite."""
    alerts = [a for a in alerts_of(streams, config) if {r["kind"] for r in a.records} & set(RATE_KINDS)]
    out = DropResult([], [], 0, [], [], [], [], [], 0, streams.unit_months)
    used: set[int] = set()
    for d in streams.drops:
        mine = [a for a in alerts if a.unit == d.series]
        inside = [a for a in mine if d.start < a.raised <= d.end]
        used |= {id(a) for a in mine if d.start < a.raised <= d.end + 60}
        already = any(a.raised <= d.start < a.resolved for a in mine)
        if not inside or already:
            out.delays.append(math.inf)
            continue
        first = inside[0]
        out.delays.append(first.raised - d.start)
        out.onset_errors.append(first.onset - d.start)
        out.repeats += len(inside) - 1
        out.probabilities.append(first.probability)
        last = max(inside, key=lambda a: a.resolved)
        out.recoveries.append(last.resolved - d.end)
        wanted = "tracking_outage" if d.size == 1.0 and d.segment is None else "rate_drop"
        out.kinds.append(first.kind_at(d.end, streams.first_minute) == wanted)
        out.held.append(first.resolved > d.end)
        if d.segment is not None:
            out.segments.append(first.segments_at(d.end, streams.first_minute) == {NAMES[d.segment]})
    scored = [a for a in alerts if a.raised > streams.warmup]
    out.false = sum(1 for a in scored if id(a) not in used)
    return out


def drop_length(limit: float) -> int:
    """Length of planted drops: long enough that missing one is the detector's fault."""
    return int(min(max(6 * limit, 120), 3 * 1440))


__all__ = [
    "Alert",
    "Drop",
    "DropResult",
    "NullResult",
    "alerts_of",
    "default_config",
    "drop_length",
    "score_drops",
    "score_null",
]
