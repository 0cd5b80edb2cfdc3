"""The detector as a whole: seeded streams with exact answers, restarts, replays, attribution, silence."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from monitor.detection.config import DetectionConfig, SeriesKey, Span
from monitor.detection.detector import Detector
from monitor.detection.state import VERSION, SeriesState, StateVersionError

DAY = 1440
START = 28_000_080 // DAY * DAY
BREAK = 3 * DAY + 700


def stream(level=200.0, rate=0.04, days=4, series=1, seed=1, left=1.0, length=180):
    rng = np.random.default_rng(seed)
    n = rng.poisson(level, (days * DAY, series)).astype(float)
    share = np.ones((days * DAY, series))
    share[BREAK : BREAK + length] = left
    return n, rng.poisson(n * rate * share).astype(float)


def records(detector, n, x, first=START):
    return [c.record for c in detector.run(first, n, x)]


@pytest.mark.parametrize(
    ("left", "raised", "kind"), [(0.0, 2, "tracking_outage"), (0.5, 10, "rate_drop"), (0.7, 52, "rate_drop")]
)
def test_seeded_drop_fires_at_this_very_minute_and_ends_after_it(left, raised, kind):
    n, x = stream(left=left)
    said = records(Detector(keys=[SeriesKey("purchase")]), n, x)
    firing = [r for r in said if r["state"] == "firing"]
    assert len(firing) == 1
    assert firing[0]["raised_at"] // 60 - START - BREAK == raised
    assert abs(firing[0]["onset_at"] // 60 - START - BREAK) <= 10
    assert said[-1]["state"] == "resolved"
    assert said[-1]["kind"] == kind
    assert 0 < said[-1]["resolved_at"] // 60 - START - BREAK - 180 <= 70
    lost = 200 * 0.04 * 180 * (1 - left)
    assert said[-1]["lost_conversions"] == pytest.approx(lost, rel=0.25)


def test_steady_stream_says_nothing():
    n, x = stream()
    assert records(Detector(keys=[SeriesKey("purchase")]), n, x) == []


def test_split_anywhere_and_restarted_gives_the_same_records():
    n, x = stream(series=3, left=0.6, days=4)
    keys = [SeriesKey("purchase", group=g) for g in "abc"]
    whole = records(Detector(keys=keys), n, x)
    assert whole
    for cuts in ([BREAK + 3], [17, 61, 4001, BREAK - 1, BREAK + 1, BREAK + 40, BREAK + 181]):
        detector, said, at = Detector(keys=keys), [], 0
        for cut in [*cuts, len(n)]:
            said += records(detector, n[at:cut], x[at:cut], START + at)
            detector = Detector.from_bytes(DetectionConfig(), detector.to_bytes())
            at = cut
        assert json.dumps(said) == json.dumps(whole)


def test_minute_by_minute_is_the_same_as_in_blocks():
    n, x = stream(left=0.5, days=4)
    a = records(Detector(keys=[SeriesKey("purchase")]), n, x)
    detector = Detector(keys=[SeriesKey("purchase")])
    detector.run(START, n[: BREAK - 100], x[: BREAK - 100])
    b = [c.record for i in range(BREAK - 100, len(n)) for c in detector.step(START + i, n[i], x[i])]
    assert a == b


def test_replay_of_minutes_already_taken_changes_nothing():
    n, x = stream(left=0.5)
    detector = Detector(keys=[SeriesKey("purchase")])
    first = records(detector, n, x)
    before = detector.to_bytes()
    assert records(detector, n[100:], x[100:], START + 100) == []
    assert detector.to_bytes() == before
    assert {r["alert_id"] for r in records(Detector(keys=[SeriesKey("purchase")]), n, x)} == {
        r["alert_id"] for r in first
    }
    assert len({(r["alert_id"], r["revision"]) for r in first}) == len(first)


def test_series_do_not_touch_each_other():
    n, x = stream(series=4, left=0.5)
    x[:, 1] = np.random.default_rng(9).poisson(n[:, 1] * 0.04)
    keys = [SeriesKey("purchase", group=g) for g in "abcd"]
    together = [r for r in records(Detector(keys=keys), n, x) if r["series"] == "c"]
    alone = records(Detector(keys=[keys[2]]), n[:, [2]], x[:, [2]])
    assert together == alone


def test_unknown_version_names_both():
    data = bytearray(Detector(keys=[SeriesKey("purchase")]).to_bytes())
    data[4:6] = (VERSION + 7).to_bytes(2, "little")
    with pytest.raises(StateVersionError, match=rf"{VERSION + 7}.*{VERSION}"):
        Detector.from_bytes(DetectionConfig(), bytes(data))


def test_rubbish_is_no_state():
    with pytest.raises(ValueError, match="not detector state"):
        Detector.from_bytes(DetectionConfig(), b"rubbish" * 10)


def test_state_is_small():
    assert SeriesState.BYTES_PER_SERIES <= 1500


@pytest.mark.parametrize("bad", [-1.0, math.inf])
def test_impossible_counts_are_refused(bad):
    detector = Detector(keys=[SeriesKey("purchase")])
    with pytest.raises(ValueError, match="from 0 up"):
        detector.step(START, [bad], [1.0])
    with pytest.raises(ValueError, match="from 0 up"):
        detector.step(START, [10.0], [bad])


def test_wrong_number_of_series_is_refused():
    with pytest.raises(ValueError, match="1 series"):
        Detector(keys=[SeriesKey("purchase")]).step(START, [1.0, 2.0], [0.0, 0.0])


def test_missing_minutes_are_no_drop_but_stale():
    n, x = stream()
    n[BREAK : BREAK + 60] = np.nan
    said = records(Detector(keys=[SeriesKey("purchase")]), n, x)
    assert {r["kind"] for r in said} == {"stale"}
    assert [r["state"] for r in said] == ["firing", "resolved"]
    assert said[0]["onset_at"] // 60 - START == BREAK


def test_no_visitors_is_a_traffic_drop_and_no_rate_drop():
    n, x = stream()
    n[BREAK : BREAK + 60] = x[BREAK : BREAK + 60] = 0
    said = records(Detector(keys=[SeriesKey("purchase")]), n, x)
    assert {r["kind"] for r in said} == {"traffic_drop"}
    assert said[-1]["state"] == "resolved"


def test_traffic_drop_turns_stale_when_the_topic_stands_still():
    n, x = stream()
    n[BREAK : BREAK + 20] = x[BREAK : BREAK + 20] = 0
    n[BREAK + 20 : BREAK + 60] = np.nan
    said = records(Detector(keys=[SeriesKey("purchase")]), n, x)
    assert [r["kind"] for r in said][:2] == ["traffic_drop", "stale"]
    assert len({r["alert_id"] for r in said}) == 1
    assert said[-1]["state"] == "resolved"


def test_visitors_without_intent_are_low_intent_traffic_and_no_rate_drop():
    n, x = stream()
    n[BREAK : BREAK + 120] *= 3
    keys = [
        SeriesKey("purchase"),
        SeriesKey("purchase", "source", "ads"),
        SeriesKey("purchase", "source", "direct"),
    ]
    rng = np.random.default_rng(4)
    ads = rng.binomial(200, 0.3, (len(n), 1)).astype(float)
    ads[BREAK : BREAK + 120] += 400
    bought = rng.binomial(x.astype(int), 0.3).astype(float)
    direct = np.maximum(n - ads, 0)
    said = records(Detector(keys=keys), np.hstack([n, ads, direct]), np.hstack([x, bought, x - bought]))
    assert {r["kind"] for r in said} == {"low_intent_traffic"}
    assert said[0]["segments"][0]["value"] == "ads"
    assert "brought by source=ads" in said[0]["summary"]


def segments(left, days=4):
    """Whole, mobile and desktop, and two countries that say nothing; `left` of mobile's rate."""
    rng = np.random.default_rng(11)
    n = rng.poisson([120.0, 130.0], (days * DAY, 2)).astype(float)
    rate = np.tile([0.03, 0.05], (days * DAY, 1))
    rate[BREAK : BREAK + 180] *= left
    x = rng.binomial(n.astype(int), rate).astype(float)
    n_de = rng.binomial(n.astype(int), 0.5).sum(1).astype(float)
    x_de = rng.binomial(x.astype(int), 0.5).sum(1).astype(float)
    visitors = np.column_stack([n.sum(1), n, n_de, n.sum(1) - n_de])
    conversions = np.column_stack([x.sum(1), x, x_de, x.sum(1) - x_de])
    return visitors, conversions


def keys_of(goal="purchase"):
    named = (
        ("all", "all"),
        ("device", "mobile"),
        ("device", "desktop"),
        ("country", "de"),
        ("country", "fr"),
    )
    return [SeriesKey(goal, d, v) for d, v in named]


def test_one_segment_is_one_alert_that_names_it():
    n, x = segments([0.3, 1.0])
    said = records(Detector(keys=keys_of()), n, x)
    assert len({r["alert_id"] for r in said}) == 1
    assert {r["kind"] for r in said} == {"rate_drop"}
    last = said[-1]
    assert last["segments"][0]["dimension"] == "device"
    assert last["segments"][0]["value"] == "mobile"
    assert last["segments"][0]["share"] >= 0.9
    assert len(last["segments"]) == 1


def test_fall_of_all_alike_blames_no_segment_and_is_one_alert():
    n, x = segments([0.4, 0.4])
    said = records(Detector(keys=keys_of()), n, x)
    assert len({r["alert_id"] for r in said}) == 1
    assert said[-1]["segments"] == []


def test_several_goals_with_one_cause_are_one_alert():
    n, x = segments([0.3, 1.0])
    rng = np.random.default_rng(18)
    carts = x + rng.binomial(x.astype(int), 0.5)
    said = records(Detector(keys=keys_of() + keys_of("cart")), np.hstack([n, n]), np.hstack([x, carts]))
    assert len({r["alert_id"] for r in said}) == 1
    assert said[-1]["goals"] == ["cart", "purchase"]


def test_dead_producer_is_broken_tracking():
    n, x = segments([0.0, 1.0])
    keys = [
        SeriesKey("purchase"),
        SeriesKey("purchase", "producer", "app/2.1"),
        SeriesKey("purchase", "producer", "web/9"),
    ]
    said = records(Detector(keys=keys), n[:, :3], x[:, :3])
    assert len({r["alert_id"] for r in said}) == 1
    assert said[-1]["kind"] == "tracking_outage"
    assert said[-1]["segments"][0]["value"] == "app/2.1"


def test_mix_shift_blames_nobody():
    rng = np.random.default_rng(11)
    mean = np.tile([120.0, 120.0], (4 * DAY, 1))
    mean[BREAK : BREAK + 300] = [40.0, 200.0]
    n = rng.poisson(mean).astype(float)
    x = rng.binomial(n.astype(int), [0.06, 0.02]).astype(float)
    said = records(
        Detector(keys=keys_of()[:3]), np.column_stack([n.sum(1), n]), np.column_stack([x.sum(1), x])
    )
    assert said == []


def test_flapping_outage_is_one_alert_that_says_so():
    n, x = stream(days=4)
    for k in range(6):
        x[BREAK + 35 * k : BREAK + 35 * k + 20] = 0
    said = records(Detector(keys=[SeriesKey("purchase")]), n, x)
    assert len({r["alert_id"] for r in said}) == 1
    assert said[-1]["state"] == "resolved"
    assert said[-1]["flapping"]
    assert "flapping" in said[-1]["summary"]


def test_quiet_span_raises_nothing_and_mute_only_marks():
    n, x = stream(left=0.3)
    span = Span((START + BREAK - 10) * 60, (START + BREAK + 200) * 60)
    assert records(Detector(DetectionConfig(quiet=(span,)), [SeriesKey("purchase")]), n, x) == []
    changes = Detector(DetectionConfig(mute=(span,)), [SeriesKey("purchase")]).run(START, n, x)
    assert changes
    assert changes[0].muted


def test_calendar_factor_lowers_the_expectation():
    n, x = stream(left=0.5)
    span = Span((START + BREAK) * 60, (START + BREAK + 180) * 60, factor=0.5)
    assert records(Detector(DetectionConfig(calendar=(span,)), [SeriesKey("purchase")]), n, x) == []


def test_expected_rate_lets_a_new_series_be_judged_within_the_first_hour():
    rng = np.random.default_rng(2)
    n = rng.poisson(200.0, (60, 1)).astype(float)
    x = rng.poisson(n * 0.04).astype(float)
    x[30:] = 0
    config = DetectionConfig(expected_rate={"purchase": 0.04})
    said = records(Detector(config, [SeriesKey("purchase")]), n, x)
    assert said[0]["kind"] in ("rate_drop", "tracking_outage")
    assert 30 < said[0]["raised_at"] // 60 - START <= 40


def test_series_are_added_and_removed_by_key():
    n, x = stream(series=2)
    a, b, c = (SeriesKey("purchase", group=g) for g in "abc")
    detector = Detector(keys=[a, b])
    detector.run(START, n[:100], x[:100])
    detector.add([c, a])
    assert detector.keys == [a, b, c]
    detector.remove([a])
    assert detector.keys == [b, c]
    detector.step(START + 100, [1.0, 2.0], [0.0, 0.0])
    assert [s["key"] for s in detector.status()] == [b, c]


def test_late_mark_and_release_are_in_the_record():
    n, x = stream(left=0.3)
    detector = Detector(keys=[SeriesKey("purchase")])
    detector.run(START, n[:BREAK], x[:BREAK])
    changes = detector.run(
        START + BREAK, n[BREAK:], x[BREAK:], late=True, release="release 2.14.0 of web-shop went out at 14:05"
    )
    assert changes[0].record["late"]
    assert changes[0].record["release"] in changes[0].record["summary"]


def test_new_level_is_adopted_after_days_and_said():
    n, x = stream(days=9, left=0.6, length=6 * DAY, seed=2)
    said = records(Detector(keys=[SeriesKey("purchase")]), n, x)
    end = next(r for r in said if r["state"] == "resolved")
    assert end["adopted"]
    assert end["resolved_at"] // 60 - end["onset_at"] // 60 == pytest.approx(4 * DAY, abs=241)
    assert len({r["alert_id"] for r in said}) == 1


def test_status_tells_learning_watching_alerting():
    n, x = stream(left=0.3)
    detector = Detector(keys=[SeriesKey("purchase")])
    detector.run(START, n[:2], x[:2])
    assert detector.status()[0]["state"] == "learning"
    detector.run(START + 2, n[2:BREAK], x[2:BREAK])
    assert detector.status()[0]["state"] == "watching"
    assert detector.status()[0]["expected_ratio"] == pytest.approx(0.04, rel=0.1)
    detector.run(START + BREAK, n[BREAK : BREAK + 60], x[BREAK : BREAK + 60])
    (status,) = detector.status()
    assert status["state"] == "alerting"
    assert detector.acknowledge(status["alert"].alert_id)
    assert not detector.acknowledge("nothing")
