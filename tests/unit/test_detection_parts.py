"""The parts of the detectors: formulas against closed forms, tables of cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monitor.detection import baseline, cusum, exposure, learning
from monitor.detection.attribution import split
from monitor.detection.config import MONTH_MINUTES, DetectionConfig, SeriesKey, Span
from monitor.detection.kinds import at_least_drop, is_dead, probability
from monitor.detection.limits import smallest_drop
from monitor.detection.sentence import clock, percent, summary


def test_averages_in_blocks_equal_one_minute_after_the_other():
    n = np.random.default_rng(0).poisson(50, (60, 3)).astype(float)
    _, whole = exposure.average(np.zeros(3), n, 0, 8.0)
    total, value = np.zeros(3), 0.0
    for j in range(60):
        _, sums = exposure.average(total, n[j : j + 1], j, 8.0)
        total = sums[0]
        value = math.exp(-1 / 8) * value + (1 - math.exp(-1 / 8)) * n[j, 0]
    assert (total == whole[-1]).all()
    assert exposure.next_hour(total, 8.0)[0] == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    ("ratio", "believed"), [(0.5, 0.5), (1.0, 1.0), (1.12, 1.12), (1.3, 0.88), (3.0, 0.88)]
)
def test_surge_is_believed_up_to_a_point(ratio, believed):
    assert ratio * float(exposure.surge_factor(np.array(ratio))) == pytest.approx(believed)


def test_cusum_in_blocks_equals_page():
    steps = np.random.default_rng(1).normal(-0.1, 1, (1, 60, 2))
    s = np.zeros(2)
    expect = []
    for t in range(60):
        s = np.maximum(0, s + steps[0, t])
        expect.append(s)
    paths = cusum.run(np.zeros((1, 2)), np.zeros((1, 2)), steps.copy())
    assert np.allclose(paths.score[0], expect)


def test_threshold_grows_with_traffic_and_with_patience():
    quiet = cusum.thresholds(MONTH_MINUTES, np.array([0.1]))
    busy = cusum.thresholds(MONTH_MINUTES, np.array([10.0]))
    patient = cusum.thresholds(10 * MONTH_MINUTES, np.array([0.1]))
    assert (quiet < busy).all()
    assert patient - quiet == pytest.approx(math.log(10), abs=0.3)


def test_fleet_budget_is_shared_by_all_series():
    assert DetectionConfig(false_alarms_per_month=2.0).minutes_between_alarms(100) == 50 * MONTH_MINUTES
    assert DetectionConfig(false_alarms_per_series_month=0.5).minutes_between_alarms(100) == 2 * MONTH_MINUTES


def test_filter_learns_a_daily_wave():
    rng = np.random.default_rng(2)
    mean = np.zeros((1, baseline.TERMS))
    cov = baseline.PRIOR_PACKED[None].astype(np.float32)
    true = np.zeros(baseline.TERMS)
    true[:3] = [0.4, 0.1, -0.1]
    for hour in range(24 * 7):
        at = baseline.basis(hour * 60 + 30)
        m = 200 * np.exp(mean @ at)
        x = rng.poisson(200 * np.exp([true @ at])).astype(float)
        mean, cov, _, _ = baseline.learn(mean, cov, x, m, at, np.array([1e-4]))
    at = baseline.basis(24 * 7 * 60 + 600)
    assert float(mean[0] @ at) == pytest.approx(
        float(true @ at), abs=4 * math.sqrt(baseline.variance(cov, at)[0])
    )
    assert math.sqrt(baseline.variance(cov, at)[0]) < 0.03


def test_packed_covariance_survives():
    full = np.random.default_rng(3).normal(size=(2, baseline.TERMS, baseline.TERMS))
    full = full + full.transpose(0, 2, 1)
    assert np.allclose(baseline.unpack(baseline.pack(full)), full, atol=1e-6)


def test_noise_of_a_window_shrinks_with_its_length():
    zero = np.array(0.0)
    v = baseline.window_noise(np.array([1.0, 10.0, 60.0, 600.0]), np.array(0.01), np.array(0.001), zero, zero)
    assert (np.diff(v) < 0).all()


def test_white_and_slow_noise_are_told_apart():
    white, slow = 0.01, 0.002
    minute, ten = white * 0.9833 + slow * 0.5455, white * 0.0833 + slow * 0.3969
    a, b = baseline.white_and_slow(np.array(minute), np.array(ten))
    assert (float(a), float(b)) == (pytest.approx(white, rel=0.02), pytest.approx(slow, rel=0.02))


def test_traffic_profile_is_unknown_until_a_day_was_seen():
    from monitor.detection.state import SeriesState

    assert np.isnan(learning.traffic_profile(SeriesState.empty(1), 0, 0)).all()


@pytest.mark.parametrize(
    ("x", "m", "whole", "named"),
    [
        ([20, 98, 50], [100, 100, 50], (168, 250), ["a"]),
        ([50, 50, 25], [100, 100, 50], (125, 250), []),
        ([100, 100, 50], [100, 100, 50], (250, 400), []),
        ([20, 30, 300], [100, 100, 300], (350, 500), ["a", "b"]),
    ],
    ids=["one value", "all alike", "pure mix shift", "two of three"],
)
def test_smallest_set_of_values_is_blamed(x, m, whole, named):
    parts = {"device": (["a", "b", "c"], np.array(x, float), np.array(m, float))}
    found = split(parts, whole, 1e-4)
    assert [p.value for p in found.parts] == named
    assert found.rate_effect + found.mix_effect == pytest.approx(whole[1] - whole[0])


def test_dimension_that_explains_best_is_taken():
    parts = {
        "country": (["de", "fr"], np.array([70.0, 72.0]), np.array([100.0, 100.0])),
        "device": (["mobile", "desktop"], np.array([40.0, 102.0]), np.array([100.0, 100.0])),
    }
    assert split(parts, (142, 200), 1e-4).parts[0][:2] == ("device", "mobile")


@pytest.mark.parametrize(("x", "m", "dead"), [(0, 2, False), (0, 5, True), (1, 30, True), (3, 10, False)])
def test_dead_needs_enough_silence(x, m, dead):
    assert is_dead(x, m) is dead


def test_probability_grows_with_evidence():
    values = [probability(e) for e in (-2, 0, 2, 6)]
    assert values == sorted(values)
    assert 0 < values[0] < values[-1] < 1


@pytest.mark.parametrize(
    ("x", "m", "drop"), [(100, 100, None), (0, 30, 0.9), (50, 100, 0.4), (800, 1000, 0.15)]
)
def test_at_least_drop_is_round_and_cautious(x, m, drop):
    assert at_least_drop(x, m, 0.0) == drop


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.0, "0 %"), (0.034, "3.4 %"), (0.0027, "0.27 %"), (0.41, "41 %")]
)
def test_percent(ratio, text):
    assert percent(ratio) == text


def test_sentence_says_what_the_record_holds():
    record = {
        "goal": "purchase", "kind": "rate_drop", "state": "firing", "dimension": "all", "value": "all", "onset_at": 50_820,
        "changed_at": 51_000, "resolved_at": None, "observed_ratio": 0.021, "expected_ratio": 0.034, "probability": 0.991,
        "at_least_drop": 0.15, "lost_conversions": 40.2, "release": "release 2.14.0 of web-shop went out at 14:05",
        "segments": [{"dimension": "device", "value": "mobile", "share": 0.93}],
    }  # fmt: skip
    assert summary(record) == (
        "Purchase rate 2.1 % instead of 3.4 % since 14:07, almost only mobile (93 %); very likely (99 %) at least "
        "15 % down; about 40 conversions lost so far; release 2.14.0 of web-shop went out at 14:05."
    )


def test_clock_is_local_and_has_a_date_for_old_times():
    assert clock(50_820, 60) == "15:07"
    assert clock(50_820, 0, date=True) == "1 Jan 14:07"


def test_span_matches_what_it_names():
    span = Span(0, 600, goal="purchase", dimension="device")
    assert span.covers(9)
    assert not span.covers(10)
    assert span.matches(SeriesKey("purchase", "device", "mobile"))
    assert not span.matches(SeriesKey("cart", "device", "mobile"))


def test_more_traffic_and_more_time_see_smaller_drops():
    table = [
        [smallest_drop(per_hour / 60, t, 2 * MONTH_MINUTES) for t in (10, 60, 1440)]
        for per_hour in (6, 60, 600, 6000)
    ]
    as_numbers = np.array([[1.5 if v is None else v for v in row] for row in table])
    assert (np.diff(as_numbers, axis=0) <= 0).all()
    assert (np.diff(as_numbers, axis=1) <= 0).all()
    assert table[0][0] is None
