"""A make-believe worker for tests of the HTTP side and the page: a shop whose mobile checkout may break.

Counts follow from rates and traffic by rounding, not by chance, so that every number can be foretold.
"""

from __future__ import annotations

from decimal import Decimal
from math import cos, pi
from typing import Any

from monitor.goals import Goal
from monitor.metrics import ConversionCollector, PipelineCounters
from monitor.rules import Dimension, Rules
from monitor.snapshot import DetectionRow, GoalCounts, Row, Snapshot, empty_snapshot
from monitor.windows import Window


def _on(event: str) -> tuple[tuple[str, frozenset[str]], ...]:
    return (("event", frozenset({event})),)


RULES = Rules(
    windows=tuple(Window.parse(name) for name in ("1m", "5m", "1h", "24h")),
    goals=(
        Goal("purchase", "macro", _on("purchase"), revenue="value", default_currency="EUR"),
        Goal("add_to_cart", "micro", _on("add_to_cart")),
        Goal("newsletter", "micro", _on("sign_up")),
    ),
    dimensions=(Dimension("device", "device"), Dimension("channel", "channel")),
)

#: Share of the visitors, and how well they convert against the whole.
SEGMENTS = {
    ("device", "mobile"): (0.58, 0.8),
    ("device", "desktop"): (0.36, 1.35),
    ("device", "tablet"): (0.06, 0.85),
    ("channel", "organic"): (0.41, 1.0),
    ("channel", "paid search"): (0.27, 1.2),
    ("channel", "social"): (0.2, 0.6),
    ("channel", "e-mail"): (0.12, 1.4),
}

#: Rate per visitor of one minute when all is well, and how many minutes a visitor of each window stays.
RATES = {"purchase": 0.021, "add_to_cart": 0.085, "newsletter": 0.012}
STAY = {"1m": 1.0, "5m": 1.6, "1h": 2.2, "24h": 2.4}

#: What of the purchases on mobile is left once the checkout broke.
LEFT = 0.08


class Shop:
    """Snapshots of a shop of about 900 visitors a minute.

    Args:
        start: Event time (epoch seconds) of the first minute.
        broken_at: Event time at which mobile purchases break; None: never.
        alert_after_s: Seconds from then to the alert.
    """

    def __init__(self, start: float, *, broken_at: float | None = None, alert_after_s: float = 240.0) -> None:
        self.start = start
        self.broken_at = broken_at
        self.alert_after_s = alert_after_s

    def at(self, time: float) -> Snapshot:
        """All numbers of one moment."""
        rows = [self._row(window, time, "all", "all") for window in RULES.windows]
        rows += [self._row(window, time, *segment) for segment in SEGMENTS for window in RULES.windows]
        alerting = self._alerting(time)
        return Snapshot(
            as_of=time,
            complete=True,
            rows=tuple(rows),
            alerts=(*((self._alert(time),) if alerting else ()), self._old_alert()),
            detection=tuple(
                self._detection(goal.name, dimension, value, alerting, time)
                for goal in RULES.goals
                for dimension, value in (("all", "all"), *SEGMENTS)
            ),
        )

    def _row(self, window: Window, time: float, dimension: str, value: str) -> Row:
        share, better = SEGMENTS.get((dimension, value), (1.0, 1.0))
        minutes = window.length_ms / 60_000
        visitors = round(self._visitors_per_minute(time) * minutes / STAY[window.name] * share)
        goals = {}
        for goal, normal in RATES.items():
            kept = self._kept(goal, time, window.length_ms / 1_000, dimension, value)
            wobble = 1 + 0.05 * cos(time / 170 + len(goal)) * (5 / max(minutes, 5)) ** 0.5
            converters = round(visitors * normal * STAY[window.name] * better * kept * wobble)
            revenue = {"EUR": Decimal(converters) * Decimal("61.43")} if goal == "purchase" else {}
            goals[goal] = GoalCounts(converters, round(converters * 1.07), round(converters * 1.02), revenue)
        return Row(window.name, dimension, value, visitors, round(visitors * 1.06), goals)

    def _visitors_per_minute(self, time: float) -> float:
        return 900 + 120 * cos((time % 5_400) / 5_400 * 2 * pi) + 15 * cos(time / 41)

    def _kept(self, goal: str, time: float, window_s: float, dimension: str, value: str) -> float:
        """What is left of the goal in a window, when a part of it lies after the break."""
        if goal != "purchase" or self.broken_at is None or time <= self.broken_at:
            return 1.0
        broken_part = min(1.0, (time - self.broken_at) / window_s)
        mobile = SEGMENTS["device", "mobile"]
        lost = (1 - LEFT) * broken_part
        if dimension == "device":
            return 1 - lost if value == "mobile" else 1.0
        return 1 - lost * mobile[0] * mobile[1]

    def _alerting(self, time: float) -> bool:
        return self.broken_at is not None and time >= self.broken_at + self.alert_after_s

    def _lost(self, time: float) -> float:
        assert self.broken_at is not None
        mobile = SEGMENTS["device", "mobile"]
        per_minute = 900 * RATES["purchase"] * mobile[0] * mobile[1] * (1 - LEFT)
        return round(per_minute * (time - self.broken_at) / 60, 1)

    def _detection(self, goal: str, dimension: str, value: str, alerting: bool, time: float) -> DetectionRow:
        better = SEGMENTS.get((dimension, value), (1.0, 1.0))[1]
        expected = RATES[goal] * better
        if goal == "newsletter":
            state = "learning" if dimension == "all" else "insufficient"
            return DetectionRow(goal, dimension, value, None, state)
        if alerting and goal == "purchase" and (dimension, value) in (("all", "all"), ("device", "mobile")):
            alerts = {"rate_drop": dimension == "all"}
            return DetectionRow(goal, dimension, value, expected, "alerting", alerts, self._lost(time), 0.99)
        return DetectionRow(goal, dimension, value, expected, "watching")

    def _alert(self, time: float) -> dict[str, Any]:
        assert self.broken_at is not None
        lost = self._lost(time)
        return {
            "alert_id": "purchase-1",
            "state": "firing",
            "kind": "rate_drop",
            "goal": "purchase",
            "dimension": "all",
            "value": "all",
            "raised_at": self.broken_at + self.alert_after_s,
            "onset_at": self.broken_at,
            "resolved_at": None,
            "observed_ratio": 0.0118,
            "expected_ratio": 0.021,
            "probability": 0.99,
            "lost_conversions": lost,
            "segments": [{"dimension": "device", "value": "mobile", "share": 0.97}],
            "release": "web-shop 2.14.0",
            "summary": (
                "Purchase rate 1.2 % instead of 2.1 %, almost only mobile (97 %); very likely (99 %) "
                f"at least 15 % down; about {lost:.0f} purchases lost so far; "
                "release 2.14.0 of web-shop went out 2 minutes before."
            ),
        }

    def _old_alert(self) -> dict[str, Any]:
        return {
            "alert_id": "cart-1",
            "state": "resolved",
            "kind": "low_intent_traffic",
            "goal": "add_to_cart",
            "dimension": "all",
            "value": "all",
            "raised_at": self.start - 1_500,
            "onset_at": self.start - 1_800,
            "resolved_at": self.start - 600,
            "observed_ratio": 0.061,
            "expected_ratio": 0.085,
            "probability": 0.95,
            "lost_conversions": 0.0,
            "segments": [],
            "release": None,
            "summary": "1.8 times the usual visitors, mostly from social; orders did not fall.",
        }


class FakeState:
    """A `WebState` that shows what it is told to."""

    def __init__(self, snapshot: Snapshot | None = None, *, rules: Rules = RULES) -> None:
        self.rules = rules
        self.current: Snapshot | None = snapshot or empty_snapshot(rules)
        self.url: str | None = None
        self.missing: list[str] = []
        self.counters = PipelineCounters(build={"version": "0.0.0"})
        self.collector = ConversionCollector(self.snapshot, self.counters)

    def snapshot(self) -> Snapshot | None:
        return self.current

    def totals_url(self) -> str | None:
        return self.url

    def ready(self) -> tuple[bool, list[str]]:
        return not self.missing, self.missing

    def metrics_text(self) -> bytes:
        return self.collector.exposition()
