from decimal import Decimal

import orjson
import pytest

from monitor.goals import Goal
from monitor.rates import wilson
from monitor.rules import Rules
from monitor.snapshot import DetectionRow, GoalCounts, Row, Snapshot, empty_snapshot, limit_series, to_api
from monitor.windows import Window

PURCHASE = Goal(
    "purchase", "macro", (("event", frozenset({"purchase"})),), revenue="value", default_currency="EUR"
)
NEWSLETTER = Goal("newsletter", "micro", (("event", frozenset({"sign_up"})),))
RULES = Rules(windows=(Window.parse("5m"), Window.parse("1h")), goals=(PURCHASE, NEWSLETTER))


def row(window: str, dimension: str, value: str, visitors: int) -> Row:
    return Row(window, dimension, value, visitors, visitors, {"purchase": GoalCounts(1, 1, 1)})


def shop() -> Snapshot:
    """Two windows; small=tablet, but in the last 5 minutes tablet has more visitors than mobile."""
    return Snapshot(
        as_of=1.0,
        complete=True,
        rows=(
            row("5m", "all", "all", 30),
            row("1h", "all", "all", 500),
            row("5m", "device", "mobile", 10),
            row("1h", "device", "mobile", 400),
            row("5m", "device", "tablet", 20),
            row("1h", "device", "tablet", 100),
        ),
        detection=(
            DetectionRow("purchase", "all", "all"),
            DetectionRow("purchase", "device", "mobile"),
            DetectionRow("purchase", "device", "tablet"),
        ),
    )


def test_before_the_first_event_every_goal_of_every_window_is_zero() -> None:
    snapshot = empty_snapshot(RULES)
    assert snapshot.as_of is None
    assert [(r.window, r.dimension, r.value, r.visitors, r.sessions) for r in snapshot.rows] == [
        ("5m", "all", "all", 0, 0),
        ("1h", "all", "all", 0, 0),
    ]
    for r in snapshot.rows:
        assert r.goals["purchase"] == GoalCounts(0, 0, 0, {"EUR": Decimal(0)})
        assert r.goals["newsletter"] == GoalCounts(0, 0, 0, {})
    assert [(d.goal, d.state) for d in snapshot.detection] == [
        ("purchase", "learning"),
        ("newsletter", "learning"),
    ]


def test_api_has_the_form_of_the_contract() -> None:
    counts = GoalCounts(39, 42, 40, {"USD": Decimal("9190.83")})
    alert = {"alert_id": "a1", "summary": "x"}
    snapshot = Snapshot(
        1569898200.0, True, (Row("5m", "all", "all", 1090, 1135, {"purchase": counts}),), (alert,)
    )
    lower, upper = wilson(39, 1090) or (0, 0)
    assert orjson.loads(orjson.dumps(to_api(snapshot))) == {
        "as_of": 1569898200.0,
        "complete": True,
        "rows": [
            {
                "window": "5m",
                "dimension": "all",
                "value": "all",
                "visitors": 1090,
                "sessions": 1135,
                "goals": {
                    "purchase": {
                        "converters": 39,
                        "conversions": 42,
                        "converting_sessions": 40,
                        "rate": 39 / 1090,
                        "session_rate": 40 / 1135,
                        "lower": lower,
                        "upper": upper,
                        "revenue": {"USD": "9190.83"},
                    }
                },
            }
        ],
        "alerts": [alert],
        "detection": [],
    }


def test_api_rate_is_null_while_there_is_no_visitor() -> None:
    goal = to_api(empty_snapshot(RULES))["rows"][0]["goals"]["purchase"]
    assert [goal[key] for key in ("rate", "session_rate", "lower", "upper")] == [None] * 4
    assert goal["revenue"] == {"EUR": "0"}


@pytest.mark.parametrize(
    ("amount", "text"),
    [("1E+3", "1000"), ("0.10", "0.10"), ("123456789012345678.01", "123456789012345678.01")],
)
def test_revenue_is_an_exact_decimal_string_without_exponent(amount: str, text: str) -> None:
    counts = GoalCounts(1, 1, 1, {"USD": Decimal(amount)})
    snapshot = Snapshot(1.0, True, (Row("5m", "all", "all", 1, 1, {"purchase": counts}),))
    assert to_api(snapshot)["rows"][0]["goals"]["purchase"]["revenue"] == {"USD": text}


def test_api_selects_window_and_dimension() -> None:
    keys = [(r["window"], r["value"]) for r in to_api(shop(), window="5m", dimension="device")["rows"]]
    assert keys == [("5m", "mobile"), ("5m", "tablet")]
    assert len(to_api(shop(), dimension="all")["rows"]) == 2
    assert len(to_api(shop(), window="1h")["rows"]) == 3


def test_limit_that_does_not_bite_returns_the_same_snapshot() -> None:
    snapshot = shop()
    limited = limit_series(snapshot, 2_000)
    assert limited.snapshot is snapshot
    assert (limited.dropped_series, limited.dropped_segments) == (0, ())
    assert limited.series == 6 * (2 + 7) + 3 * 15


def test_limit_drops_the_segment_with_least_traffic_in_the_longest_window() -> None:
    limited = limit_series(shop(), 92)
    assert limited.dropped_segments == (("device", "tablet"),)
    assert {r.value for r in limited.snapshot.rows} == {"all", "mobile"}
    assert [d.value for d in limited.snapshot.detection] == ["all", "mobile"]
    assert (limited.series, limited.dropped_series) == (66, 33)


def test_limit_never_drops_the_whole() -> None:
    limited = limit_series(shop(), 1)
    assert {r.value for r in limited.snapshot.rows} == {"all"}
    assert limited.dropped_segments == (("device", "tablet"), ("device", "mobile"))


def test_limit_keeps_the_detection_of_an_active_alert() -> None:
    shop_ = shop()
    firing = DetectionRow("purchase", "device", "tablet", state="alerting", alerts={"rate_drop": True})
    snapshot = Snapshot(1.0, True, shop_.rows, (), (*shop_.detection[:2], firing))
    limited = limit_series(snapshot, 92)
    assert limited.dropped_segments == (("device", "tablet"),)
    assert firing in limited.snapshot.detection
    assert limited.series + limited.dropped_series == 6 * 9 + 3 * 15
