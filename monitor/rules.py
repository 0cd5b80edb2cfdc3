"""All counting rules of a config as one frozen value: what the core needs, and nothing of Kafka."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitor.goals import Goal
from monitor.windows import Window


@dataclass(frozen=True, slots=True)
class Dimension:
    """A way to divide visitors: each has one value of it, that of his latest event which carries it."""

    name: str
    """Value of the label `dimension`."""
    field: str
    """Where an event has it: a field of the event, `properties.<name>` or `variant.<experiment>`."""
    max_values: int = 50
    """How many values keep a series of their own, by traffic; the rest is counted as `other`."""


@dataclass(frozen=True)
class Rules:
    """What is counted, and how event time moves. Durations are milliseconds of event time."""

    windows: tuple[Window, ...]
    """The sliding windows, shortest first; no two have the same length."""
    goals: tuple[Goal, ...]
    """The desired actions, in the order of the config; names are unique."""
    dimensions: tuple[Dimension, ...] = ()
    """The ways to divide visitors; `all`, the whole, is always there and not listed."""
    clock: Literal["wall", "event"] = "wall"
    """What ends a window: `event` only later events, `wall` also time that passes without any."""
    allowed_lateness_ms: int = 30_000
    """How far behind the latest event time of its partition an event may be and still count."""
    idle_after_ms: int = 10_000
    """A partition without events for this long follows the wall clock and holds no minute open."""
    session_gap_ms: int = 1_800_000
    """A pause of more than this ends a session that carries no `session_id`."""
    dedupe_window_ms: int = 600_000
    """How long an `event_id` is remembered so that a repeat is not counted."""
    max_in_future_ms: int = 300_000
    """How far ahead of the wall clock an event's time may be before it is rejected."""

    @property
    def longest_window_ms(self) -> int:
        """Length of the longest window; nothing older is ever asked for."""
        return max(window.length_ms for window in self.windows)
