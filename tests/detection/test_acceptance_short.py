"""The acceptance table in short: few streams, fixed seeds, fixed bounds (the long form: `python -m tests.detection`)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.detection.limit import limit_minutes
from tests.detection.scoring import default_config, drop_length, score_drops, score_null
from tests.detection.simulate import drop_class, noon_case, null_class


@pytest.mark.parametrize(
    ("level", "drop", "minutes"),
    [(0.1, 1.0, 84), (1, 0.3, 134), (1, 1.0, 10.7), (10, 0.5, 6.7), (150, 0.15, 5.6)],
)
def test_limit_is_the_published_one(level, drop, minutes):
    assert limit_minutes(level, drop) == pytest.approx(minutes, rel=0.04)


@pytest.mark.parametrize(
    ("name", "a_month"),
    [("plain", 0.6), ("season", 0.8), ("bots", 1), ("traffic_drops", 1), ("blackouts", 1), ("mix_shift", 1)],
)
def test_null_class_seldom_alarms(name, a_month):
    """A single series whose weekend lies in a blackout may alarm each weekend: so many of them that one does not decide."""
    result = score_null(null_class(name, 10.0, 12, 4242), default_config())
    assert result.months > 10
    assert len(result.false) <= a_month * result.months


@pytest.mark.parametrize(
    ("name", "level", "drop", "ratio"),
    [("clean", 1.0, 1.0, 1.6), ("clean", 10.0, 0.3, 1.7), ("real", 10.0, 0.5, 1.9)],
)
def test_drop_is_found_near_the_limit(name, level, drop, ratio):
    limit = limit_minutes(level, drop)
    result = score_drops(drop_class(name, level, drop, 3, 4243, drop_length(limit)), default_config())
    assert result.drops >= 15
    assert result.median <= ratio * limit
    assert result.repeats <= 0.15 * result.drops
    assert np.mean(result.kinds) >= 0.9


def test_one_segment_is_named():
    result = score_drops(drop_class("one_segment", 10.0, 1.0, 3, 4244, 180), default_config())
    assert np.mean(result.segments) >= 0.9


def test_noon_outage_fires_at_once_and_until_repaired():
    result = score_drops(noon_case(1.0, 6, 4245), default_config())
    assert result.median <= 5
    assert all(result.held)
