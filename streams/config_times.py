"""Kinds of values that are lengths of time, moments and days."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime

from monitor.windows import Window, format_duration, parse_duration
from streams.config_entries import Entry, Problems
from streams.config_kinds import REFERENCE_SCHEMA, Json, scalar

#: A duration as JSON Schema sees it; bounds are checked by `check-config` only.
DURATION_PATTERN = r"^(?=\d)(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$"


@dataclass(frozen=True)
class Duration:
    """A duration within bounds; milliseconds once read."""

    low_ms: int
    """Least value."""
    high_ms: int
    """Greatest value."""

    def read(self, entry: Entry, problems: Problems) -> int | None:
        """Milliseconds."""
        bounds = f"a duration from {format_duration(self.low_ms)} to {format_duration(self.high_ms)}"
        found = scalar(entry, problems, bounds, "write one, such as 30s or 5m")
        if found is None:
            return None
        try:
            length_ms = parse_duration(found.text)
        except ValueError as error:
            reason = "is no duration" if found.referenced else str(error)
            problems.add(entry, reason, f"write {bounds}")
            return None
        if not self.low_ms <= length_ms <= self.high_ms:
            problems.add(entry, f"{found.shown} is out of bounds", f"write {bounds}")
            return None
        return length_ms

    def schema(self) -> Json:
        """A string in the form of a duration."""
        return {"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, REFERENCE_SCHEMA]}


@dataclass(frozen=True)
class WindowLength:
    """The length of a sliding window."""

    def read(self, entry: Entry, problems: Problems) -> Window | None:
        """The window with its panes."""
        found = scalar(entry, problems, "a duration", "write one, such as 5m")
        if found is None:
            return None
        try:
            return Window.parse(found.text)
        except ValueError as error:
            told = (
                "a reference: is no usable window: write a duration such as 5m"
                if found.referenced
                else str(error)
            )
            reason, _, remedy = told.rpartition(": ")
            problems.add(entry, reason or remedy, remedy if reason else "write one, such as 5m")
            return None

    def schema(self) -> Json:
        """A string in the form of a duration."""
        return {"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, REFERENCE_SCHEMA]}


@dataclass(frozen=True)
class Instant:
    """A moment as RFC 3339 with its zone; epoch milliseconds once read."""

    def read(self, entry: Entry, problems: Problems) -> int | None:
        """Epoch milliseconds."""
        remedy = "write date, time and zone, such as 2026-11-27T00:00:00Z"
        found = scalar(entry, problems, "a time", remedy)
        if found is None:
            return None
        try:
            moment = datetime.fromisoformat(found.text)
        except ValueError:
            problems.add(entry, f"{found.shown} is no time", remedy)
            return None
        if moment.tzinfo is None:
            problems.add(entry, f"{found.shown} has no zone", remedy)
            return None
        return round(moment.timestamp() * 1_000)

    def schema(self) -> Json:
        """A date and time."""
        pattern = r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([Zz]|[+-]\d{2}:?\d{2})$"
        return {"anyOf": [{"type": "string", "pattern": pattern}, REFERENCE_SCHEMA]}


@dataclass(frozen=True)
class Day:
    """A day of the calendar."""

    def read(self, entry: Entry, problems: Problems) -> date | None:
        """The day."""
        found = scalar(entry, problems, "a date", "write one, such as 2026-11-27")
        if found is None:
            return None
        try:
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", found.text):
                raise ValueError
            return date.fromisoformat(found.text)
        except ValueError:
            problems.add(entry, f"{found.shown} is no date", "write one, such as 2026-11-27")
            return None

    def schema(self) -> Json:
        """A date."""
        return {"anyOf": [{"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}, REFERENCE_SCHEMA]}
