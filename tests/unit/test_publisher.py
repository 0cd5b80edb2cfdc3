"""When events are due, what sources are called, what is refused before anything is sent."""

from pathlib import Path

import pytest

from streams.errors import ConfigError
from streams.mapping import Mapper
from streams.publisher import Pacer, Report
from streams.sources import Source, check_headers, latest_time


def test_without_limits_everything_is_due_at_once():
    pacer = Pacer()
    assert [pacer.due_s(t) for t in (0, 60_000)] == [0, 0]


def test_a_rate_spaces_events_evenly():
    pacer = Pacer(rate=4)
    assert [pacer.due_s(0) for _ in range(4)] == [0, 0.25, 0.5, 0.75]


def test_a_speedup_keeps_the_gaps_shorter():
    pacer = Pacer(speedup=60)
    assert [pacer.due_s(t) for t in (5_000, 65_000, 35_000, 3_605_000)] == [0, 1, 0.5, 60]


def test_both_hold_the_later_one():
    pacer = Pacer(rate=1, speedup=10)
    assert [pacer.due_s(t) for t in (0, 1_000, 100_000)] == [0, 1, 10]


def test_id_prefix_is_the_name_wherever_the_file_lies():
    assert Source("a/day.csv", Path("a/day.csv")).id_prefix == "day.csv"
    assert Source("/b/day.csv", Path("/b/day.csv")).id_prefix == "day.csv"
    assert Source("-", None).id_prefix == Source("-", Path("/spool/x")).id_prefix == "stdin"
    assert len(Source("x", Path("x" * 200)).id_prefix) == 32


def test_every_missing_column_is_told_at_once_with_those_there(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time,user\n")
    with pytest.raises(ConfigError) as caught:
        check_headers(
            [Source("a.csv", path)], Mapper({"visitor_id": "usr", "event": "type", "timestamp": "time"})
        )
    assert [p.key for p in caught.value.problems] == ["--map visitor_id=usr", "--map event=type"]
    assert "time, user" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        check_headers([Source("gone.csv", tmp_path / "gone.csv")], Mapper())


def test_latest_time_skips_what_cannot_be_mapped(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "event,visitor_id,timestamp\npage_view,v,1569888007\npage_view,,1569888009\npage_view,v,1569888005\n"
    )
    assert latest_time([Source("a.csv", path)], Mapper()) == 1_569_888_007_000
    assert latest_time([], Mapper()) is None


def test_complete_means_that_every_row_is_in_the_topic():
    assert Report(rows=3, published=3).complete()
    assert Report(rows=3, published=2, bad=1, sent_bad=1).complete()
    assert not Report(rows=3, published=2, bad=1).complete()
    assert not Report(rows=3, published=2, failed=1).complete()
