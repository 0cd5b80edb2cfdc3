from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from monitor.goals import Goal
from monitor.history import History
from monitor.live.judgement import headline, judge
from monitor.live.view import MAX_SEGMENTS, live_view
from monitor.rules import Dimension, Rules
from monitor.snapshot import DetectionRow, GoalCounts, Row, Snapshot, empty_snapshot, to_api
from monitor.windows import Window

RULES = Rules(
    windows=(Window.parse("1m"), Window.parse("5m")),
    goals=(
        Goal("purchase", "macro", (("event", frozenset({"purchase"})),), revenue="value"),
        Goal("pricing_link", "micro", (("event", frozenset({"click"})),)),
    ),
    dimensions=(Dimension("device", "device"),),
)
ALERT: dict[str, Any] = {
    "alert_id": "a1",
    "state": "firing",
    "kind": "rate_drop",
    "goal": "purchase",
    "dimension": "all",
    "value": "all",
    "onset_at": 900.0,
    "raised_at": 960.0,
    "lost_conversions": 12.0,
    "segments": [{"dimension": "device", "value": "mobile", "share": 0.93}],
    "summary": "Purchase rate 2.1 % instead of 3.4 % since 14:07.",
}


def row(dimension: str, value: str, visitors: int, converters: int, window: str = "1m") -> Row:
    goals = {"purchase": GoalCounts(converters, converters, converters, {"USD": Decimal("9.90")})}
    return Row(window, dimension, value, visitors, visitors, {**goals, "pricing_link": GoalCounts()})


def shop(**changes: object) -> Snapshot:
    snapshot = Snapshot(
        as_of=1_000.0,
        complete=True,
        rows=(
            row("all", "all", 1_000, 40),
            row("device", "desktop", 600, 30),
            row("device", "mobile", 400, 2),
            row("device", "watch", 0, 0),
            row("all", "all", 3_000, 120, "5m"),
        ),
        detection=(
            DetectionRow("purchase", "all", "all", 0.04, "watching"),
            DetectionRow("pricing_link", "all", "all", None, "watching"),
            DetectionRow("purchase", "device", "desktop", 0.05, "watching"),
            DetectionRow("purchase", "device", "mobile", 0.03, "watching"),
        ),
    )
    return replace(snapshot, **changes)  # type: ignore[arg-type]


def view(snapshot: Snapshot, window: str = "1m") -> dict[str, Any]:
    history = History(RULES)
    history.record(snapshot)
    seen = live_view(snapshot, RULES, history, window)
    orjson.dumps(seen)
    return seen


def test_numbers_are_those_of_the_api() -> None:
    seen = view(shop())
    api = to_api(shop(), window="1m")["rows"][0]
    assert (seen["visitors"], seen["sessions"]) == (api["visitors"], api["sessions"])
    for goal in seen["goals"]:
        assert {key: goal[key] for key in api["goals"][goal["name"]]} == api["goals"][goal["name"]]


def test_all_normal() -> None:
    seen = view(shop())
    assert seen["headline"] == {
        "level": "ok",
        "title": "All is normal",
        "text": "All 2 goals convert as expected.",
    }
    assert [(goal["title"], goal["level"]) for goal in seen["goals"]] == [
        ("Purchase", "ok"),
        ("Pricing link", "ok"),
    ]


def test_the_segment_that_lost_most_stands_first() -> None:
    segments = view(shop())["goals"][0]["segments"]
    assert [s["value"] for s in segments] == ["mobile", "desktop"]
    assert segments[0]["missing"] == pytest.approx(400 * 0.03 - 2)
    assert (segments[0]["level"], segments[0]["status"]) == ("warn", "lower than expected")
    assert (segments[1]["level"], segments[1]["missing"]) == ("ok", None)


def test_an_active_alert_is_the_headline_and_marks_goal_and_segment() -> None:
    seen = view(shop(alerts=(ALERT,)))
    assert seen["headline"] == {"level": "bad", "title": "Purchase rate fell", "text": ALERT["summary"]}
    purchase = seen["goals"][0]
    assert (purchase["level"], purchase["status"], purchase["lost"]) == ("bad", "below normal", 12.0)
    assert purchase["segments"][0]["status"] == "93 % of the loss"
    assert seen["goals"][1]["level"] == "ok"


def test_a_resolved_alert_is_listed_last_and_changes_no_judgement() -> None:
    over = {**ALERT, "alert_id": "a0", "state": "resolved"}
    seen = view(shop(alerts=(over, {**ALERT, "kind": "traffic_drop"})))
    assert [(alert["alert_id"], alert["active"]) for alert in seen["alerts"]] == [("a1", True), ("a0", False)]
    assert seen["headline"]["level"] == "warn"
    assert view(shop(alerts=(over,)))["headline"]["level"] == "ok"


def test_of_several_alerts_the_gravest_speaks_and_the_others_are_counted() -> None:
    outage = {**ALERT, "kind": "tracking_outage", "summary": "No purchase at all."}
    title = view(shop(alerts=({**ALERT, "kind": "stale"}, ALERT, outage)))["headline"]
    assert title["title"] == "Purchase is no longer tracked"
    assert title["text"] == "No purchase at all. 2 more alerts below."


def test_an_alert_of_one_segment_says_which() -> None:
    alert = {**ALERT, "dimension": "device", "value": "mobile", "segments": []}
    purchase = view(shop(alerts=(alert,)))["goals"][0]
    assert purchase["status"] == "below normal for device mobile"
    assert purchase["segments"][0]["level"] == "bad"


@pytest.mark.parametrize(
    ("seen", "level", "status"),
    [
        (None, "unknown", "not watched"),
        (DetectionRow("g", "all", "all", state="learning"), "unknown", "learning what is normal"),
        (DetectionRow("g", "all", "all", state="insufficient"), "unknown", "too few conversions to judge"),
        (DetectionRow("g", "all", "all", state="watching"), "ok", "as expected"),
        (DetectionRow("g", "all", "all", state="frozen"), "warn", "paused: no data to judge"),
        (DetectionRow("g", "all", "all", state="alerting"), "bad", "below normal"),
        (DetectionRow("g", "all", "all", alerts={"stale": True}), "warn", "no fresh data"),
        (
            DetectionRow("g", "all", "all", alerts={"stale": True, "tracking_outage": True}),
            "bad",
            "tracking stopped",
        ),
    ],
)
def test_judgement(seen: DetectionRow | None, level: str, status: str) -> None:
    assert judge(seen) == (level, status)


def test_headlines_before_there_is_anything_to_judge() -> None:
    assert headline(empty_snapshot(RULES), [], [])["title"] == "Waiting for the first event"
    learning = tuple(DetectionRow(goal.name, "all", "all") for goal in RULES.goals)
    assert view(shop(detection=learning))["headline"]["title"] == "Learning what is normal"
    assert view(shop(detection=()))["headline"]["title"] == "Rates are live"
    assert view(shop(complete=False))["headline"]["title"] == "Not all data is in yet"


def test_one_goal_still_learning_is_named() -> None:
    detection = (shop().detection[0], DetectionRow("pricing_link", "all", "all"))
    text = view(shop(detection=detection))["headline"]["text"]
    assert text == "Purchase converts as expected. Too early to judge: Pricing link."


def test_segments_beyond_the_limit_are_counted() -> None:
    rows = (row("all", "all", 9_000, 9), *(row("device", f"d{k}", 100 + k, 1) for k in range(30)))
    purchase = view(shop(rows=rows, detection=()))["goals"][0]
    assert len(purchase["segments"]) == MAX_SEGMENTS
    assert purchase["more_segments"] == 30 - MAX_SEGMENTS
    assert purchase["segments"][0]["value"] == "d29"


def test_an_empty_shop_has_no_rate_and_no_error() -> None:
    seen = view(empty_snapshot(RULES))
    assert [goal["rate"] for goal in seen["goals"]] == [None, None]


def test_unknown_window_is_refused() -> None:
    with pytest.raises(ValueError, match="no window '7m'"):
        view(shop(), window="7m")


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({}, "Purchase rate fell"),
        ({"acknowledged": True, "muted": False}, "Purchase rate fell, acknowledged"),
        ({"acknowledged": True, "muted": True}, "Purchase rate fell, acknowledged, muted"),
        ({"acknowledged": True, "state": "resolved"}, "Purchase rate fell"),
    ],
)
def test_an_active_alert_says_what_operators_said_of_it(changes: dict[str, Any], title: str) -> None:
    view = live_view(shop(alerts=({**ALERT, **changes},)), RULES, History(RULES), "1m")
    assert view["alerts"][0]["title"] == title
