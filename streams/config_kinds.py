"""Kinds of values in a config: each reads an entry, and describes itself as JSON Schema.

A setting names its kind in its annotation (`port: Annotated[int, Whole(0, 65_535)] = 8000`), so the reader
and the schema both follow from the dataclass and cannot drift apart.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from streams.config_entries import Entry, Problems, Scalar

#: JSON Schema of a value that is taken from the environment.
REFERENCE_SCHEMA = {"$ref": "#/$defs/reference"}

Json = dict[str, object]


class Kind(Protocol):
    """What a value may be."""

    def read(self, entry: Entry, problems: Problems) -> object | None:
        """The value, or None after a problem was noted."""

    def schema(self) -> Json:
        """JSON Schema of the value."""


@dataclass(frozen=True)
class Named:
    """The key of a setting whose name in Python is another."""

    key: str


@dataclass(frozen=True)
class Needed:
    """Marks a setting that has no default in the file (its field may have one, to go on with)."""

    example: str
    """What could be written."""


def scalar(entry: Entry, problems: Problems, wanted: str, remedy: str) -> Scalar | None:
    """The scalar of an entry; a problem if it is a list, a mapping or empty."""
    if isinstance(entry.value, Scalar):
        if entry.value.failed:
            return None
        # A text from the environment may be empty; nothing at all behind a key is a slip.
        if entry.value.form != "null" or entry.value.referenced:
            return entry.value
    problems.add(entry, f"must be {wanted}, and is {entry.form}", remedy)
    return None


def nearest(word: str, words: Sequence[str]) -> str:
    """`did you mean …?` for a word that is none of `words`; empty if none is near."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else ""


@dataclass(frozen=True)
class Text:
    """A text, in a form if a `pattern` is given."""

    pattern: str = r"(?s).*"
    """What the whole text must look like."""
    form: str = "a text"
    """The pattern in words."""
    example: str = ""
    """A value that fits."""

    def read(self, entry: Entry, problems: Problems) -> str | None:
        """The text; numbers must be in quotes, for `0123` and `1.10` would not stay what they are."""
        remedy = f"write one, such as {self.example}" if self.example else "write it, or delete the line"
        found = scalar(entry, problems, self.form, remedy)
        if found is None:
            return None
        if found.form in ("number", "flag") and not found.referenced:
            problems.add(entry, f"must be a text, and is {entry.form}", f'put it in quotes: "{found.shown}"')
            return None
        if not re.fullmatch(self.pattern, found.text):
            example = f", such as {self.example}" if self.example else ""
            problems.add(
                entry, f"{found.shown or 'the empty text'} is not {self.form}", f"write {self.form}{example}"
            )
            return None
        return found.text

    def schema(self) -> Json:
        """A string, with the pattern if there is one."""
        if self.pattern == r"(?s).*":
            return {"type": "string"}
        return {"anyOf": [{"type": "string", "pattern": f"^(?:{self.pattern})$"}, REFERENCE_SCHEMA]}


@dataclass(frozen=True)
class Choice:
    """One of several words."""

    words: tuple[str, ...]

    def read(self, entry: Entry, problems: Problems) -> str | None:
        """The word."""
        listed = ", ".join(self.words)
        found = scalar(entry, problems, f"one of {listed}", "")
        if found is None or found.text in self.words:
            return found.text if found else None
        remedy = nearest(found.text, self.words) or f"write one of {listed}"
        problems.add(entry, f"{found.shown} is not one of {listed}", remedy)
        return None

    def schema(self) -> Json:
        """An enumeration."""
        return {"anyOf": [{"enum": list(self.words)}, REFERENCE_SCHEMA]}


@dataclass(frozen=True)
class Flag:
    """`true` or `false`."""

    def read(self, entry: Entry, problems: Problems) -> bool | None:
        """The truth value."""
        found = scalar(entry, problems, "true or false", "write true or false")
        if found is None:
            return None
        if found.form != "flag":
            problems.add(entry, f"{found.shown} is neither true nor false", "write true or false")
            return None
        return found.text.lower() == "true"

    def schema(self) -> Json:
        """A boolean."""
        return {"anyOf": [{"type": "boolean"}, REFERENCE_SCHEMA]}


@dataclass(frozen=True)
class Number:
    """A number within bounds."""

    low: float
    """Least value."""
    high: float
    """Greatest value."""
    above: bool = False
    """Whether `low` itself is too little."""
    hint: str = ""
    """A remedy beyond the bounds."""

    @property
    def bounds(self) -> str:
        """The bounds in words."""
        least = f"above {self.low:,g} and up" if self.above else f"from {self.low:,g}"
        return f"{least} to {self.high:,g}"

    def read(self, entry: Entry, problems: Problems) -> float | None:
        """The number."""
        found = scalar(entry, problems, "a number", f"write a number {self.bounds}")
        if found is None:
            return None
        value = float(found.text.replace("_", "")) if found.form == "number" else math.nan
        if not self.fits(value):
            remedy = self.hint or f"write a number {self.bounds}"
            reason = "is no number" if math.isnan(value) else "is out of bounds"
            problems.add(entry, f"{found.shown} {reason}", remedy)
            return None
        return value

    def fits(self, value: float) -> bool:
        """Whether the value is within the bounds."""
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def schema(self) -> Json:
        """A number with its bounds."""
        least = "exclusiveMinimum" if self.above else "minimum"
        return {"anyOf": [{"type": "number", least: self.low, "maximum": self.high}, REFERENCE_SCHEMA]}


@dataclass(frozen=True)
class Whole:
    """A whole number within bounds."""

    low: int
    """Least value."""
    high: int
    """Greatest value."""

    def read(self, entry: Entry, problems: Problems) -> int | None:
        """The number."""
        bounds = f"a whole number from {self.low:,} to {self.high:,}"
        found = scalar(entry, problems, bounds, f"write {bounds}")
        if found is None:
            return None
        digits = found.text.replace("_", "")
        fits = found.form == "number" and re.fullmatch(r"[-+]?\d{1,15}", digits) is not None
        if not fits or not self.low <= int(digits) <= self.high:
            reason = "is out of bounds" if fits else "is no whole number"
            problems.add(entry, f"{found.shown} {reason}", f"write {bounds}")
            return None
        return int(digits)

    def schema(self) -> Json:
        """An integer with its bounds."""
        return {"anyOf": [{"type": "integer", "minimum": self.low, "maximum": self.high}, REFERENCE_SCHEMA]}


@dataclass(frozen=True)
class ListOf:
    """A list whose items are all of one kind."""

    item: Kind
    """Kind of an item."""
    least: int = 0
    """Fewest items."""
    most: int = 1_000
    """Most items."""

    def read(self, entry: Entry, problems: Problems) -> tuple[object, ...] | None:
        """The items that could be read; None if it is no list."""
        if not isinstance(entry.value, list):
            problems.add(
                entry, f"must be a list, and is {entry.form}", "write [a, b] or a line with - for each"
            )
            return None
        if not self.least <= len(entry.value) <= self.most:
            count = f"from {self.least} to {self.most}" if self.least else f"at most {self.most}"
            problems.add(entry, f"has {len(entry.value)} items", f"write {count}")
        items = [self.item.read(item, problems) for item in entry.value]
        return tuple(item for item in items if item is not None)

    def schema(self) -> Json:
        """An array."""
        bounds = {"minItems": self.least} if self.least else {}
        return {"type": "array", "items": self.item.schema(), "maxItems": self.most, **bounds}


def members(entry: Entry, problems: Problems) -> Mapping[str, Entry] | None:
    """The members of a mapping; an empty entry has none, anything else is a problem."""
    if isinstance(entry.value, dict):
        return entry.value
    if entry.is_null:
        return {}
    problems.add(entry, f"must be a mapping of keys, and is {entry.form}", "write key: value lines under it")
    return None
