"""Snapshot and counters as metric families: the names, types and labels of the contract, in one place.

Plain data without prometheus_client: `monitor/metrics.py` turns it into a collector and into text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from monitor.counters import Histogram, PipelineCounters
from monitor.rates import rate, wilson
from monitor.snapshot import ALERT_KINDS, DETECTOR_STATES, DetectionRow, Limited, Row

#: Label name and value, in the order in which they are written.
Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Family:
    """One metric with its samples.

    Attributes:
        name: Name as scraped, of a counter with `_total`.
        kind: Prometheus type.
        help: One sentence for people.
        samples: (suffix after the name, labels, value).
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: list[tuple[str, Labels, float]] = field(default_factory=list)

    def add(self, value: float, labels: Labels = (), suffix: str = "") -> None:
        """Add one sample."""
        self.samples.append((suffix, labels, value))


def business_families(limited: Limited) -> Iterator[Family]:
    """The numbers of the snapshot; families without a sample are left out."""
    snapshot = limited.snapshot
    families = (*_row_families(snapshot.rows), *_detection_families(snapshot.detection))
    yield from (family for family in families if family.samples)
    yield _gauge(
        "conversion_snapshot_complete", "1 if every partition has reported its counts.", snapshot.complete
    )
    if snapshot.as_of is not None:
        text = "Event time up to which the windows reach."
        yield _gauge("conversion_snapshot_timestamp_seconds", text, snapshot.as_of)
    text = "Series left out because this worker would expose more than its limit."
    yield _gauge("conversion_series_dropped", text, limited.dropped_series)


def pipeline_families(counters: PipelineCounters, *, holds_totals: bool) -> Iterator[Family]:
    """The worker's own counters; all of them exist from its start."""
    text = "1 on the worker that holds the totals and exposes the rates, 0 on the others."
    yield _gauge("conversion_holds_totals", text, holds_totals)
    info = Family("conversion_build_info", "gauge", "1, labelled by the build that runs.")
    info.add(1, tuple(counters.build.items()))
    yield info
    yield _counter("conversion_events_total", "Events taken from the topic, good or bad.", counters.events)
    rejected = Family("conversion_events_rejected_total", "counter", "Events sent to the dead letters.")
    for reason, count in counters.rejected.items():
        rejected.add(count, (("reason", reason),))
    yield rejected
    yield _counter("conversion_events_duplicate_total", "Events dropped as repeats.", counters.duplicates)
    text = "Events later than the allowed lateness: in no window."
    yield _counter("conversion_events_late_total", text, counters.late)
    text = "Events on another partition than the one of their key: uniques come out too high."
    yield _counter("conversion_events_misrouted_total", text, counters.misrouted)
    text = "Events that retention deleted before they were read."
    yield _counter("conversion_events_lost_total", text, counters.lost)
    text = "Visitors and sessions, or ids, forgotten early to stay within a limit of the config."
    forgotten = Family("conversion_limit_reached_total", "counter", text)
    for limit, count in counters.forgotten.items():
        forgotten.add(count, (("limit", limit),))
    yield forgotten
    yield _histogram("conversion_event_delay_seconds", "From event time to counted.", counters.delays)
    yield _histogram("conversion_checkpoint_seconds", "Duration of a checkpoint.", counters.checkpoints)
    if counters.last_checkpoint is not None:
        text = "Wall clock of the last checkpoint."
        yield _gauge("conversion_last_checkpoint_timestamp_seconds", text, counters.last_checkpoint)
    for name, text, by_partition in (
        (
            "conversion_watermark_timestamp_seconds",
            "Event time a partition surely reached.",
            counters.watermark,
        ),
        ("conversion_committed_offset", "Offset committed last.", counters.committed_offset),
        ("conversion_consumer_lag", "Records of a partition not read yet.", counters.consumer_lag),
    ):
        family = Family(name, "gauge", text)
        for partition, value in sorted(by_partition.items()):
            family.add(value, (("partition", str(partition)),))
        if family.samples:
            yield family


def _row_families(rows: Iterable[Row]) -> tuple[Family, ...]:
    gauge = _empty_gauge
    visitors = gauge("conversion_visitors", "Unique visitors active in the window.")
    sessions = gauge("conversion_sessions", "Sessions active in the window.")
    converters = gauge("conversion_converters", "Visitors with a conversion in the window.")
    conversions = gauge("conversion_conversions", "Completed goals in the window.")
    converting = gauge("conversion_converting_sessions", "Sessions with a conversion in the window.")
    ratio = gauge("conversion_rate_ratio", "Converters per visitor; absent while there is no visitor.")
    session_ratio = gauge("conversion_session_rate_ratio", "Converting sessions per session; absent without.")
    lower = gauge("conversion_rate_lower_ratio", "Lower end of the 95 % Wilson interval of the rate.")
    upper = gauge("conversion_rate_upper_ratio", "Upper end of the 95 % Wilson interval of the rate.")
    revenue = gauge("conversion_revenue", "Sum of the amounts of the conversions in the window.")
    for row in rows:
        segment = (("window", row.window), ("dimension", row.dimension), ("value", row.value))
        visitors.add(row.visitors, segment)
        sessions.add(row.sessions, segment)
        for goal, counts in row.goals.items():
            labels = (*segment, ("goal", goal))
            converters.add(counts.converters, labels)
            conversions.add(counts.conversions, labels)
            converting.add(counts.converting_sessions, labels)
            by_visitor = rate(counts.converters, row.visitors)
            interval = wilson(counts.converters, row.visitors)
            by_session = rate(counts.converting_sessions, row.sessions)
            if by_visitor is not None and interval is not None:
                ratio.add(by_visitor, labels)
                lower.add(interval[0], labels)
                upper.add(interval[1], labels)
            if by_session is not None:
                session_ratio.add(by_session, labels)
            for currency, amount in counts.revenue.items():
                revenue.add(float(amount), (*labels, ("currency", currency)))
    return (
        visitors,
        sessions,
        converters,
        conversions,
        converting,
        ratio,
        session_ratio,
        lower,
        upper,
        revenue,
    )


def _detection_families(rows: Iterable[DetectionRow]) -> tuple[Family, ...]:
    gauge = _empty_gauge
    expected = gauge("conversion_rate_expected_ratio", "Rate that the baseline expects now.")
    state = gauge("conversion_detector_state", "1 for the state that the detector of the series is in.")
    active = gauge("conversion_alert_active", "1 while an alert of this kind is active.")
    lost = gauge("conversion_lost_conversions", "Conversions lost since the onset of the active alert.")
    sure = gauge("conversion_alert_probability_ratio", "Probability that the active alert is true.")
    text = "1 if an operator has acknowledged the open alert, else 0; absent without one."
    acknowledged = gauge("conversion_alert_acknowledged", text)
    muted = gauge("conversion_alert_muted", "1 while the series is muted: its alerts are not active then.")
    for row in rows:
        labels = (("goal", row.goal), ("dimension", row.dimension), ("value", row.value))
        for name in DETECTOR_STATES:
            state.add(row.state == name, (*labels, ("state", name)))
        for kind, is_active in {**dict.fromkeys(ALERT_KINDS, False), **row.alerts}.items():
            active.add(is_active, (*labels, ("kind", kind)))
        for kind in row.alerts:
            acknowledged.add(kind in row.acknowledged, (*labels, ("kind", kind)))
        muted.add(row.muted, labels)
        lost.add(row.lost, labels)
        if row.expected is not None:
            expected.add(row.expected, labels)
        if row.probability is not None:
            sure.add(row.probability, labels)
    return expected, state, active, lost, sure, acknowledged, muted


def _empty_gauge(name: str, text: str) -> Family:
    return Family(name, "gauge", text)


def _gauge(name: str, text: str, value: float) -> Family:
    return Family(name, "gauge", text, [("", (), value)])


def _counter(name: str, text: str, value: float) -> Family:
    return Family(name, "counter", text, [("", (), value)])


def _histogram(name: str, text: str, seen: Histogram) -> Family:
    family = Family(name, "histogram", text)
    for bound, count in zip((*seen.bounds, float("inf")), seen.cumulative(), strict=True):
        family.add(count, (("le", "+Inf" if bound == float("inf") else repr(float(bound))),), "_bucket")
    family.add(seen.sum, suffix="_sum")
    family.add(seen.count, suffix="_count")
    return family
