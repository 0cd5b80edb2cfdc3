import logging
import re
import shutil
import subprocess
from decimal import Decimal
from time import perf_counter

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from monitor.goals import Goal
from monitor.metrics import REJECTION_REASONS, ConversionCollector, PipelineCounters
from monitor.rules import Rules
from monitor.snapshot import DetectionRow, GoalCounts, Row, Snapshot, empty_snapshot
from monitor.windows import Window
from tests.conftest import leave_out

RULES = Rules(
    windows=(Window.parse("5m"),),
    goals=(Goal("purchase", "macro", (("event", frozenset({"purchase"})),), revenue="value"),),
)

#: Metric to its labels, as the contract has them.
CONTRACT = {
    "conversion_visitors": {"window", "dimension", "value"},
    "conversion_sessions": {"window", "dimension", "value"},
    "conversion_converters": {"window", "dimension", "value", "goal"},
    "conversion_conversions": {"window", "dimension", "value", "goal"},
    "conversion_converting_sessions": {"window", "dimension", "value", "goal"},
    "conversion_rate_ratio": {"window", "dimension", "value", "goal"},
    "conversion_session_rate_ratio": {"window", "dimension", "value", "goal"},
    "conversion_rate_lower_ratio": {"window", "dimension", "value", "goal"},
    "conversion_rate_upper_ratio": {"window", "dimension", "value", "goal"},
    "conversion_revenue": {"window", "dimension", "value", "goal", "currency"},
    "conversion_rate_expected_ratio": {"goal", "dimension", "value"},
    "conversion_detector_state": {"goal", "dimension", "value", "state"},
    "conversion_alert_active": {"goal", "dimension", "value", "kind"},
    "conversion_lost_conversions": {"goal", "dimension", "value"},
    "conversion_alert_probability_ratio": {"goal", "dimension", "value"},
    "conversion_alert_acknowledged": {"goal", "dimension", "value", "kind"},
    "conversion_alert_muted": {"goal", "dimension", "value"},
    "conversion_events_total": set(),
    "conversion_events_rejected_total": {"reason"},
    "conversion_events_duplicate_total": set(),
    "conversion_events_late_total": set(),
    "conversion_events_misrouted_total": set(),
    "conversion_events_lost_total": set(),
    "conversion_limit_reached_total": {"limit"},
    "conversion_event_delay_seconds_bucket": {"le"},
    "conversion_event_delay_seconds_sum": set(),
    "conversion_event_delay_seconds_count": set(),
    "conversion_checkpoint_seconds_bucket": {"le"},
    "conversion_checkpoint_seconds_sum": set(),
    "conversion_checkpoint_seconds_count": set(),
    "conversion_last_checkpoint_timestamp_seconds": set(),
    "conversion_watermark_timestamp_seconds": {"partition"},
    "conversion_committed_offset": {"partition"},
    "conversion_consumer_lag": {"partition"},
    "conversion_build_info": {"version"},
    "conversion_holds_totals": set(),
    "conversion_snapshot_complete": set(),
    "conversion_snapshot_timestamp_seconds": set(),
    "conversion_series_dropped": set(),
}


def counted() -> PipelineCounters:
    counters = PipelineCounters(
        build={"version": "1.2.3"}, events=10, duplicates=1, late=2, misrouted=3, lost=4
    )
    counters.count_delays(np.array([0.05, 2.0, 5_000.0]))
    counters.checkpoint_done(0.03, at=1_700_000_000.5)
    counters.watermark[0] = 1_700_000_000.25
    counters.committed_offset[0] = 12
    counters.consumer_lag[0] = 0
    counters.count_rejected("not_json")
    return counters


def shop() -> Snapshot:
    goals = {"purchase": GoalCounts(39, 42, 40, {"USD": Decimal("9190.83")})}
    nasty = Row("5m", "brand", 'a"b\\c\nd é\ud800', 0, 0, {"purchase": GoalCounts()})
    firing = DetectionRow("purchase", "all", "all", 0.05, "alerting", {"rate_drop": True}, 12.5, 0.99)
    return Snapshot(1569898200.0, True, (Row("5m", "all", "all", 1090, 1135, goals), nasty), (), (firing,))


def wide(segments: int, goals: int = 3) -> Snapshot:
    """One window with that many segments, in which each goal has all its seven series."""
    rows = []
    for k in range(segments):
        counts = {f"goal{g}": GoalCounts(k + 1, k + 2, k + 1) for g in range(goals)}
        rows.append(
            Row("5m", "all" if k == 0 else "brand", "all" if k == 0 else f"b{k}", 10_000, 11_000, counts)
        )
    return Snapshot(1.0, True, tuple(rows))


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text.decode())
        for s in family.samples
    }


def test_names_and_labels_are_those_of_the_contract() -> None:
    found: dict[str, set[str]] = {}
    for name, labels in samples(ConversionCollector(shop, counted()).exposition()):
        if not name.startswith(("process_", "python_")):
            found.setdefault(name, set()).update(key for key, _ in labels)
    assert found == CONTRACT


def test_values_are_those_of_the_snapshot() -> None:
    seen = samples(ConversionCollector(shop, counted()).exposition())
    whole = (("dimension", "all"), ("value", "all"), ("window", "5m"))
    goal = tuple(sorted((*whole, ("goal", "purchase"))))
    assert seen["conversion_visitors", whole] == 1090
    assert seen["conversion_converters", goal] == 39
    assert seen["conversion_rate_ratio", goal] == 39 / 1090
    assert seen["conversion_session_rate_ratio", goal] == 40 / 1135
    assert seen["conversion_revenue", tuple(sorted((*goal, ("currency", "USD"))))] == 9190.83
    series = (("dimension", "all"), ("goal", "purchase"), ("value", "all"))
    state = {
        s: seen["conversion_detector_state", tuple(sorted((*series, ("state", s))))]
        for s in ("alerting", "frozen")
    }
    assert state == {"alerting": 1, "frozen": 0}
    kinds = [v for (name, _), v in seen.items() if name == "conversion_alert_active"]
    assert sorted(kinds) == [0, 0, 0, 0, 1]


def test_text_and_collector_have_the_same_samples() -> None:
    plain = Snapshot(shop().as_of, True, shop().rows[:1], (), shop().detection)
    collector = ConversionCollector(lambda: plain, counted())
    registry = CollectorRegistry()
    registry.register(collector)
    ours = {k: v for k, v in samples(collector.exposition()).items() if k[0].startswith("conversion_")}
    assert samples(generate_latest(registry)) == ours


def test_before_the_first_event_goals_and_reasons_exist_as_zero() -> None:
    seen = samples(ConversionCollector(lambda: empty_snapshot(RULES), PipelineCounters()).exposition())
    labels = (("dimension", "all"), ("goal", "purchase"), ("value", "all"), ("window", "5m"))
    assert seen["conversion_conversions", labels] == 0
    assert seen["conversion_revenue", (("currency", "USD"), *labels)] == 0
    for reason in REJECTION_REASONS:
        assert seen["conversion_events_rejected_total", (("reason", reason),)] == 0
    assert not [name for name, _ in seen if name == "conversion_rate_ratio"]


def test_a_worker_without_the_totals_exposes_no_business_number() -> None:
    seen = samples(ConversionCollector(lambda: None, counted()).exposition())
    assert seen["conversion_holds_totals", ()] == 0
    assert seen["conversion_events_total", ()] == 10
    assert not [name for name, _ in seen if name in ("conversion_visitors", "conversion_snapshot_complete")]


def test_a_label_value_survives_quotes_backslashes_newlines_and_a_lone_surrogate() -> None:
    text = ConversionCollector(shop, counted()).exposition().decode()
    assert r'value="a\"b\\c\nd é&#55296;"' in text
    assert len(re.findall(r"^conversion_visitors\{", text, re.MULTILINE)) == 2


def test_no_created_series() -> None:
    assert b"_created" not in ConversionCollector(shop, counted()).exposition()


def test_limit_is_logged_once_and_exposed(caplog: pytest.LogCaptureFixture) -> None:
    current = wide(200)
    collector = ConversionCollector(lambda: current, PipelineCounters())
    with caplog.at_level(logging.INFO, logger="monitor"):
        for _ in range(3):
            seen = samples(collector.exposition())
        assert len(caplog.records) == 1
        assert "left out" in caplog.text
        assert "max_values" in caplog.text
        current = wide(3)
        collector.exposition()
    assert "exposed again" in caplog.records[-1].message
    assert seen["conversion_series_dropped", ()] == 200 * 23 - (2_000 // 23) * 23
    assert len([1 for name, _ in seen if name == "conversion_visitors"]) == 2_000 // 23


def test_two_thousand_series_are_written_in_twenty_milliseconds() -> None:
    snapshot = wide(2_000 // 23)
    collector = ConversionCollector(lambda: snapshot, counted())
    times = []
    for _ in range(7):
        start = perf_counter()
        collector.exposition()
        times.append(perf_counter() - start)
    assert min(times) <= 0.020


@pytest.mark.parametrize(
    "snapshot", [shop(), empty_snapshot(RULES), None], ids=["full", "empty", "no totals"]
)
def test_exposition_is_clean_under_promtool(snapshot: Snapshot | None) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        leave_out("no promtool (Debian: apt-get install prometheus)")
    text = ConversionCollector(lambda: snapshot, counted()).exposition()
    result = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, b"")
