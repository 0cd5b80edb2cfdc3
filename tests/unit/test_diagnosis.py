"""What the doctor makes of what it saw."""

import pytest

from monitor.placement import Placement
from streams.diagnosis import (
    Arrival,
    judge_broker,
    judge_clock,
    judge_contract,
    judge_keys,
    judge_lag,
    judge_source,
)

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("seen", "status", "says"),
    [
        (Placement(0, 0, 0, 0, 0, 0, 0), "note", "no messages"),
        (Placement(100, 0, 0, 100, 0, 0, 0), "ok", "100 recent messages are keyed by visitor"),
        (Placement(100, 7, 0, 93, 0, 0, 2), "wrong", "7 of 100 recent messages have no key"),
        (Placement(100, 0, 5, 100, 0, 0, 3), "wrong", "not their visitor_id; 3 visitors are in several"),
        (Placement(100, 0, 0, 25, 75, 0, 0), "wrong", "a librdkafka client placed them by CRC32"),
        (Placement(100, 0, 0, 60, 39, 1, 9), "wrong", "CRC32; 9 visitors are in several partitions"),
        (Placement(100, 0, 0, 25, 20, 55, 0), "wrong", "neither murmur2 nor CRC32"),
    ],
)
def test_keys(seen, status, says):
    finding = judge_keys(seen, 4)
    assert finding.status == status
    assert says in finding.detail
    if status == "wrong":
        assert "kafka.keyed_by_visitor: false here" in finding.remedy


def test_librdkafka_is_told_its_own_setting():
    assert "partitioner=murmur2_random" in judge_keys(Placement(9, 0, 0, 3, 6, 0, 0), 4).remedy


def arrivals(*happened_before: float, appended_before: float = 0.0):
    return [Arrival(NOW - h, NOW - appended_before) for h in happened_before]


@pytest.mark.parametrize(
    ("seen", "status", "says"),
    [
        ([], "note", "no events"),
        (arrivals(0.2, 0.4, 0.6), "ok", "events arrive 0.4 s after they happened"),
        (arrivals(-20), "note", "up to 20 s ahead of now"),
        (arrivals(1, 2, -400), "wrong", "up to 7 min ahead of now, and such events are rejected"),
        (arrivals(7_200, 7_201, 1), "note", "over 2.0 h old as they arrived"),
        (arrivals(86_400 * 2_000), "note", "over 2,000 days old"),
        (arrivals(-1, appended_before=-60), "wrong", "appended 60 s after now"),
    ],
)
def test_clocks(seen, status, says):
    finding = judge_clock(seen, NOW, 300)
    assert finding.status == status
    assert says in finding.detail


@pytest.mark.parametrize(
    ("committed", "lag", "age", "status", "says"),
    [
        (0, 1_000, 0, "note", "no worker has run yet"),
        (4, 0, 0, "ok", "is up to date"),
        (4, 1_500, 3, "ok", "1,500 messages behind, the oldest 3.0 s old"),
        (4, 1_500, 40, "note", "40 s old"),
        (4, 1_500, 600, "wrong", "10 min old"),
        (3, 1_500, 3, "note", "3 of 4 partitions"),
        (3, 1_500, 600, "wrong", "10 min old"),
    ],
)
def test_lag(committed, lag, age, status, says):
    finding = judge_lag("g", committed, 4, lag, age)
    assert finding.status == status
    assert says in finding.detail


@pytest.mark.parametrize(
    ("reasons", "status", "says"),
    [
        ({}, "ok", "10 recent messages can all be counted"),
        ({"not_json": 1, "empty": 3}, "note", "4 of 10 recent messages are rejected: empty 3, not_json 1"),
        ({"not_json": 10}, "wrong", "10 of 10"),
    ],
)
def test_contract(reasons, status, says):
    finding = judge_contract(10, reasons)
    assert finding.status == status
    assert says in finding.detail


def test_source_and_broker():
    assert judge_source("t", {"t": 1}, may_create=False).detail == "t has 1 partition"
    assert judge_source("t", {}, may_create=True).status == "note"
    assert judge_source("t", {}, may_create=False).status == "wrong"
    assert "in memory" in judge_broker("127.0.0.1:1", "embedded-0f").detail
    assert "cluster abc" in judge_broker("127.0.0.1:1", "abc").detail
