"""Paths to the fields of an event that goals and dimensions may name.

A path is a field of the event itself (`event`, `page`, `device`), `properties.<name>`, or
`variant.<experiment>`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

#: Fields that say what was done, and where.
ACTION_FIELDS = ("event", "page")

#: Fields that say who came, and from where: they divide visitors into segments.
SEGMENT_FIELDS = ("device", "channel", "source", "medium", "campaign", "country", "currency", "producer")

#: Every field of the event itself that can be compared with a text.
TEXT_FIELDS = ACTION_FIELDS + SEGMENT_FIELDS

#: Fields that differ from one event or visitor to the next: each would be a series of its own.
UNIQUE_FIELDS = ("visitor_id", "session_id", "event_id", "transaction_id", "timestamp", "value")

#: Objects inside an event; a path into one has a dot.
OBJECT_FIELDS = ("properties", "variant")


def path_problem(path: str) -> tuple[str, str] | None:
    """Why `path` names no field that can be compared: reason and remedy; None if it does."""
    head, dot, rest = path.partition(".")
    if head in OBJECT_FIELDS:
        if rest:
            return None
        return f"{head} is an object", f"name one field of it, such as {head}.{_EXAMPLES[head]}"
    if path in TEXT_FIELDS:
        return None
    if path in UNIQUE_FIELDS:
        return (
            f"{path} differs from event to event",
            f"use one of {', '.join(TEXT_FIELDS)}, or properties.<name>",
        )
    close = difflib.get_close_matches(path, TEXT_FIELDS, n=1)
    remedy = f"{close[0]}, or properties.{path}" if close else f"properties.{path if not dot else '<name>'}"
    return f"an event has no field {path}", f"write {remedy}"


_EXAMPLES = {"properties": "form", "variant": "checkout"}


def default_field(name: str) -> str:
    """The path of a dimension that names none: the event's own field of that name, else a property."""
    head, dot, _ = name.partition(".")
    if name in TEXT_FIELDS or (dot and head in OBJECT_FIELDS):
        return name
    return f"properties.{name}"


def value_text(value: object) -> str | None:
    """A scalar of JSON as the text that rules compare; None for null, objects, arrays.

    >>> value_text("a"), value_text(True), value_text(3), value_text(3.0), value_text([1])
    ('a', 'true', '3', '3', None)
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return None


def field_text(event: object, path: str) -> str | None:
    """The text at `path` of a decoded event (mapping, or object with attributes); None if there is none."""
    head, dot, rest = path.partition(".")
    inside = dot != "" and head in OBJECT_FIELDS
    value = _member(event, head if inside else path)
    if inside:
        return value_text(value.get(rest)) if isinstance(value, Mapping) else None
    return value_text(value)


def _member(event: object, name: str) -> object:
    return event.get(name) if isinstance(event, Mapping) else getattr(event, name, None)
