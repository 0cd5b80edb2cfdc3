import pytest

from monitor.goals import Goal
from monitor.history import History
from monitor.rules import Rules
from monitor.snapshot import DetectionRow, GoalCounts, Row, Snapshot, empty_snapshot
from monitor.windows import Window

RULES = Rules(
    windows=tuple(Window.parse(name) for name in ("1m", "5m", "24h")),
    goals=(Goal("purchase", "macro", (("event", frozenset({"purchase"})),)),),
)
T0 = 1_700_000_100.0


def at(
    time: float, visitors: tuple[int, int, int], converters: int = 1, expected: float | None = None
) -> Snapshot:
    rows = tuple(
        Row(window.name, "all", "all", count, count, {"purchase": GoalCounts(min(converters, count), 1, 1)})
        for window, count in zip(RULES.windows, visitors, strict=True)
    )
    segment = Row("1m", "device", "mobile", 999, 999, {"purchase": GoalCounts(1, 1, 1)})
    detection = () if expected is None else (DetectionRow("purchase", "all", "all", expected=expected),)
    return Snapshot(time, True, (*rows, segment), (), detection)


def test_nothing_is_kept_before_the_first_event() -> None:
    history = History(RULES)
    history.record(empty_snapshot(RULES))
    assert history.to_api("5m")["times"] == []


def test_the_last_snapshot_of_a_slot_is_its_point() -> None:
    history = History(RULES, step_s=15)
    history.record(at(T0, (10, 20, 30)))
    history.record(at(T0 + 14, (11, 22, 30)))
    history.record(at(T0 + 15, (12, 24, 30)))
    seen = history.to_api("5m")
    assert seen["times"] == [T0, T0 + 15]
    assert seen["visitors"] == [22, 24]
    assert seen["goals"]["purchase"]["rate"] == [1 / 22, 1 / 24]


def test_the_whole_only_never_a_segment() -> None:
    history = History(RULES)
    history.record(at(T0, (10, 20, 30)))
    assert history.to_api("1m")["visitors"] == [10]


def test_no_visitor_is_no_point_of_the_rate() -> None:
    history = History(RULES)
    history.record(at(T0, (0, 0, 0), converters=0))
    assert history.to_api("1m")["goals"]["purchase"] == {
        "rate": [None],
        "lower": [None],
        "upper": [None],
        "expected": [None],
    }


def test_only_the_span_is_kept_and_a_gap_stays_a_gap() -> None:
    history = History(RULES, span_s=60, step_s=15)
    for k in (0, 1, 2, 3, 5):
        history.record(at(T0 + 15 * k, (k + 1, k + 1, k + 1)))
    assert history.to_api("1m")["times"] == [T0 + 15 * k for k in (2, 3, 5)]


def test_an_older_snapshot_is_not_kept_but_time_set_back_starts_anew() -> None:
    history = History(RULES, span_s=60, step_s=15)
    history.record(at(T0 + 30, (5, 5, 5)))
    history.record(at(T0, (9, 9, 9)))
    assert history.to_api("1m")["visitors"] == [5]
    history.record(at(T0 - 3_600, (7, 7, 7)))
    assert history.to_api("1m")["times"] == [T0 - 3_600]


def test_unknown_window_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        History(RULES).to_api("7m")


def test_expectation_of_a_minute_is_that_of_the_detector() -> None:
    history = History(RULES)
    history.record(at(T0, (100, 300, 900), expected=0.02))
    assert history.in_window(0.02, "1m", "purchase") == 0.02
    assert history.to_api("1m")["goals"]["purchase"]["expected"] == [0.02]


def test_expectation_of_five_minutes_counts_who_stayed_several_of_them() -> None:
    # 100 visitors each minute, 250 unique in five: each is there for two minutes, so converts twice as often.
    history = History(RULES)
    for k in range(40):
        history.record(at(T0 + 15 * k, (100, 250, 90_000), expected=0.02))
    assert history.in_window(0.02, "5m", "purchase") == pytest.approx(0.04)
    assert history.to_api("5m")["goals"]["purchase"]["expected"][-1] == pytest.approx(0.04)


def test_expectation_just_after_the_very_first_event_is_not_too_high() -> None:
    history = History(RULES)
    history.record(at(T0, (10, 10, 10)))
    assert history.in_window(0.02, "5m", "purchase") == 0.02


def test_expectation_is_unknown_for_a_window_longer_than_the_hour() -> None:
    history = History(RULES)
    history.record(at(T0, (100, 250, 900)))
    assert history.in_window(0.02, "24h", "purchase") is None


def test_expectation_is_unknown_without_a_window_of_one_minute() -> None:
    rules = Rules(windows=(Window.parse("5m"),), goals=RULES.goals)
    history = History(rules)
    history.record(Snapshot(T0, True, (Row("5m", "all", "all", 10, 10, {}),)))
    assert history.in_window(0.02, "5m", "purchase") is None


def test_expectation_is_never_above_one() -> None:
    history = History(RULES)
    history.record(at(T0, (100, 100, 900)))
    assert history.in_window(0.9, "5m", "purchase") == 1.0


def test_expectation_counts_who_buys_twice_once() -> None:
    history = History(RULES)
    goals = {"purchase": GoalCounts(converters=40, conversions=50)}
    history.record(
        Snapshot(T0, True, tuple(Row(w.name, "all", "all", 1_000, 1_000, goals) for w in RULES.windows))
    )
    assert history.in_window(0.05, "1m", "purchase") == pytest.approx(0.04)
    nobody = {"purchase": GoalCounts()}
    history.record(
        Snapshot(T0 + 15, True, tuple(Row(w.name, "all", "all", 1_000, 1_000, nobody) for w in RULES.windows))
    )
    assert history.in_window(0.05, "1m", "purchase") == pytest.approx(0.04), "a drop does not change it"


def test_single_points_of_a_catch_up_are_not_shown() -> None:
    history = History(RULES)
    for k in (0, 60, 61, 62, 63, 64):
        history.record(at(T0 + 15 * k, (9, 9, 9)))
    assert history.to_api("1m")["times"][0] == T0 + 15 * 60
