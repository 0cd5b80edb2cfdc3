"""Kinds for the goals and dimensions of a config: named things under a key of one's own choice."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, cast

from monitor.currencies import CURRENCIES
from monitor.fields import TEXT_FIELDS, UNIQUE_FIELDS, default_field, path_problem, value_text
from monitor.goals import Goal, check_goal
from monitor.rules import Dimension
from streams.config_entries import Entry, Problems, Scalar
from streams.config_kinds import REFERENCE_SCHEMA, Choice, Json, Needed, Number, Text, Whole, members
from streams.config_records import Record

#: Names of goals and dimensions: label values that read well in a query, and every valid event name.
NAME_PATTERN = r"[A-Za-z0-9_.:-]([A-Za-z0-9_.: -]{0,62}[A-Za-z0-9_.:-])?"

#: Label values with a meaning of their own: the whole, the rest of a dimension, and who never carried it.
RESERVED_NAMES = ("all", "other", "unknown")

#: Most goals; each is a set of series for every window and segment value.
MAX_GOALS = 50

#: Most dimensions; every event moves its visitor in each of them.
MAX_DIMENSIONS = 20


@dataclass(frozen=True)
class Match:
    """Equality on fields of the event; a list means one of."""

    def read(self, entry: Entry, problems: Problems) -> tuple[tuple[str, frozenset[str]], ...] | None:
        """Field path → accepted values."""
        found = members(entry, problems)
        if found is None:
            return None
        conditions = []
        for path, member in found.items():
            items = member.value if isinstance(member.value, list) else [member]
            texts = [_accepted(item, problems) for item in items]
            if None in texts:
                return None
            conditions.append((path, frozenset(text for text in texts if text is not None)))
        return tuple(conditions)

    def schema(self) -> Json:
        """An object of scalars or lists of scalars, with field paths as keys."""
        value = {"type": ["string", "number", "boolean"]}
        return {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": rf"^(({'|'.join(TEXT_FIELDS)})|(properties|variant)\..+)$"},
            "additionalProperties": {"anyOf": [value, {"type": "array", "minItems": 1, "items": value}]},
        }


def _accepted(item: Entry, problems: Problems) -> str | None:
    """A value of a match as the text events are compared with."""
    value = item.value
    if isinstance(value, Scalar) and value.failed:
        return None
    if not isinstance(value, Scalar) or (value.form == "null" and not value.referenced):
        problems.add(item, f"must be a value to compare with, and is {item.form}", "write a text or a number")
        return None
    if value.form == "flag":
        return value.text.lower()
    if value.form != "number":
        return value.text
    digits = value.text.replace("_", "")
    # A publisher's JSON has 1.10 and 1.1 as the same number; whole ones may have more digits than a float.
    return value_text(int(digits) if re.fullmatch(r"[-+]?\d{1,400}", digits) else float(digits))


@dataclass(frozen=True)
class GoalKeys:
    """A goal: the desired action that it matches, and what it is worth."""

    match: Annotated[tuple[tuple[str, frozenset[str]], ...], Match(), Needed("{event: purchase}")]
    """The desired action: fields of the event and the values they must have; a list means one of."""
    kind: Annotated[Literal["macro", "micro"], Choice(("macro", "micro"))] = "macro"
    """`macro`: what the business lives on; `micro`: a step towards it."""
    revenue: Annotated[
        str | None, Text(r"value|properties\..+", "value or properties.<name>", example="value")
    ] = None
    """The field that holds the amount."""
    default_currency: Annotated[str, Text(r"[A-Z]{3}", "a currency code of ISO 4217", example="EUR")] = "USD"
    """Currency of amounts whose event has no `currency`."""
    expected_rate: Annotated[float | None, Number(0, 1, above=True, hint="write a ratio: 0.04 for 4 %")] = (
        None
    )
    """Converters ÷ visitors that is normal here; used until a baseline is learned."""


@dataclass(frozen=True)
class Goals:
    """Goals by name."""

    def read(self, entry: Entry, problems: Problems) -> tuple[Goal, ...] | None:
        """The goals that keep the conversion contract; a reason for each other."""
        found = members(entry, problems)
        if found is None:
            return None
        if not 1 <= len(found) <= MAX_GOALS:
            remedy = "name a desired action, as purchase: {kind: macro, match: {event: purchase}}"
            problems.add(entry, f"has {len(found)} goals, and needs from 1 to {MAX_GOALS}", remedy)
        goals = (_goal(name, member, problems) for name, member in found.items())
        return tuple(goal for goal in goals if goal is not None)

    def schema(self) -> Json:
        """An object of goals."""
        return {
            "type": "object",
            "minProperties": 1,
            "maxProperties": MAX_GOALS,
            "propertyNames": {"pattern": f"^{NAME_PATTERN}$", "not": {"enum": list(RESERVED_NAMES)}},
            "additionalProperties": {"$ref": "#/$defs/goal"},
        }


def _goal(name: str, entry: Entry, problems: Problems) -> Goal | None:
    named = _check_name(name, entry, problems)
    keys = cast("GoalKeys | None", Record(GoalKeys).read(entry, problems))
    if keys is None or not named:
        return None
    goal = Goal(name, keys.kind, keys.match, keys.revenue, keys.default_currency, keys.expected_rate)
    if getattr(_member(entry, "kind").value, "text", keys.kind) != keys.kind:
        return None  # the kind is a problem already, and decides what the match may be
    match = _member(entry, "match")
    for reason in check_goal(goal):
        what, _, remedy = reason.partition(": ")
        problems.add(match, what, remedy)
    if keys.default_currency not in CURRENCIES:
        remedy = "write a code in use, such as EUR"
        problems.add(_member(entry, "default_currency"), f"{keys.default_currency} is no currency", remedy)
    return goal


def _member(entry: Entry, name: str) -> Entry:
    """The entry of a key, or of the mapping where the key is not written."""
    return entry.value.get(name, entry) if isinstance(entry.value, dict) else entry


def _check_name(name: str, entry: Entry, problems: Problems) -> bool:
    if name in RESERVED_NAMES:
        problems.add(entry, f"the name {name} has a meaning of its own in the metrics", "choose another name")
        return False
    if not re.fullmatch(NAME_PATTERN, name):
        remedy = "use 1 to 64 of A-Z a-z 0-9 _ . : - and space inside"
        problems.add(entry, f"{name[:70]!r} cannot be a label value", remedy)
        return False
    return True


@dataclass(frozen=True)
class DimensionKeys:
    """A way to divide visitors into segments."""

    max_values: Annotated[int, Whole(1, 1_000)] = 50
    """How many values keep a series of their own, by traffic; the rest is `other`."""
    field: Annotated[str | None, Text(r".+", "a field of the event", example="properties.brand")] = None
    """Where an event has it; by default the event's field of that name, else a property of that name."""


@dataclass(frozen=True)
class Dimensions:
    """Dimensions by name, or a plain list of names."""

    def read(self, entry: Entry, problems: Problems) -> tuple[Dimension, ...] | None:
        """The dimensions that name a usable field."""
        if isinstance(entry.value, list):
            found = _from_names(entry.value, problems)
        else:
            mapping = members(entry, problems)
            if mapping is None:
                return None
            found = list(mapping.items())
        if len(found) > MAX_DIMENSIONS:
            problems.add(entry, f"has {len(found)} dimensions", f"keep at most {MAX_DIMENSIONS}")
        dimensions = (_dimension(name, member, problems) for name, member in found)
        return tuple(dimension for dimension in dimensions if dimension is not None)

    def schema(self) -> Json:
        """An object of dimensions, or an array of names."""
        name = {"pattern": f"^{NAME_PATTERN}$", "not": {"enum": [*RESERVED_NAMES, *UNIQUE_FIELDS]}}
        return {
            "anyOf": [
                {
                    "type": ["object", "null"],
                    "maxProperties": MAX_DIMENSIONS,
                    "propertyNames": name,
                    "additionalProperties": {"$ref": "#/$defs/dimension"},
                },
                {
                    "type": "array",
                    "maxItems": MAX_DIMENSIONS,
                    "uniqueItems": True,
                    "items": {"anyOf": [{"type": "string", **name}, REFERENCE_SCHEMA]},
                },
            ]
        }


def _from_names(items: list[Entry], problems: Problems) -> list[tuple[str, Entry]]:
    found: dict[str, Entry] = {}
    for item in items:
        name = Text(r".+", "a name", example="device").read(item, problems)
        if name is None:
            continue
        if name in found:
            problems.add(item, f"{name} is there twice, first on line {found[name].line}", "keep one")
            continue
        found[name] = Entry(item.key, item.line, {})
    return list(found.items())


def _dimension(name: str, entry: Entry, problems: Problems) -> Dimension | None:
    named = _check_name(name, entry, problems)
    keys = cast("DimensionKeys | None", Record(DimensionKeys).read(entry, problems))
    if keys is None or not named:
        return None
    path = keys.field
    if path is None:
        path = name if name in UNIQUE_FIELDS else default_field(name)
    problem = path_problem(path)
    if problem is not None:
        problems.add(_member(entry, "field"), problem[0], problem[1])
        return None
    return Dimension(name, path, keys.max_values)
