"""The settings under `detection`: when a fall of a rate is told to people, and when not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated

from streams.config_kinds import Flag, ListOf, Named, Needed, Number, Text
from streams.config_records import Record
from streams.config_times import Day, Instant


@dataclass(frozen=True)
class QuietSpan:
    """A span of time in which no alert is raised and nothing is learned."""

    from_ms: Annotated[int, Instant(), Named("from"), Needed("2026-11-27T00:00:00Z")]
    """Start, RFC 3339 with zone."""
    to_ms: Annotated[int, Instant(), Named("to"), Needed("2026-11-27T02:00:00Z")]
    """End, RFC 3339 with zone; not part of the span."""
    reason: Annotated[str, Text()] = ""
    """Why, for people."""

    def contradiction(self) -> tuple[str, str] | None:
        """Reason and remedy if it is no span."""
        return ("ends before it begins", "exchange from and to") if self.from_ms >= self.to_ms else None


@dataclass(frozen=True)
class CalendarDay:
    """A day that is not like others: a sale, a holiday."""

    date: Annotated[date, Day(), Needed("2026-11-27")]
    """The day, in UTC."""
    factor: Annotated[float, Number(0, 100, above=True)] = 1.0
    """The expected rate of this day ÷ that of a usual day."""
    learn: Annotated[bool, Flag()] = True
    """Whether the baseline learns from it."""
    reason: Annotated[str, Text()] = ""
    """Why, for people."""

    def contradiction(self) -> tuple[str, str] | None:
        """Reason and remedy if it is a day like any other."""
        if self.learn and self.factor == 1:
            return "says nothing that differs from a usual day", "add factor: 1.5 or learn: false"
        return None


@dataclass(frozen=True)
class Mute:
    """Series that raise no alert; whatever is left out stands for every one."""

    goal: Annotated[str | None, Text()] = None
    """Name of a goal; null: every goal."""
    dimension: Annotated[str | None, Text()] = None
    """Name of a dimension, or `all` for the whole; null: every dimension."""
    value: Annotated[str | None, Text()] = None
    """A value of the dimension; null: every value."""

    def contradiction(self) -> tuple[str, str] | None:
        """Reason and remedy if it mutes everything, or a value of no dimension."""
        if self.goal is None and self.dimension is None and self.value is None:
            return "names no series", "name a goal, or a dimension and a value"
        if self.value is not None and self.dimension is None:
            return "has a value without its dimension", "add dimension:"
        return None

    def covers(self, goal: str, dimension: str, value: str) -> bool:
        """Whether a series is muted by this."""
        wanted = ((self.goal, goal), (self.dimension, dimension), (self.value, value))
        return all(mine is None or mine == theirs for mine, theirs in wanted)


@dataclass(frozen=True)
class Detection:
    """When a fall of a rate is told to people."""

    false_alarms_per_month: Annotated[float, Number(0, 1_000, above=True)] = 2.0
    """Most false alarms wanted in a month, over all series together: fewer means slower detection."""
    min_conversions_lost: Annotated[float, Number(0, 1_000_000)] = 3.0
    """A drop is told only once it has cost this many conversions."""
    quiet: Annotated[tuple[QuietSpan, ...], ListOf(Record(QuietSpan))] = ()
    """Spans of planned work: no alert, no learning."""
    calendar: Annotated[tuple[CalendarDay, ...], ListOf(Record(CalendarDay))] = ()
    """Days that are not like others."""
    mute: Annotated[tuple[Mute, ...], ListOf(Record(Mute))] = ()
    """Series that raise no alert."""
