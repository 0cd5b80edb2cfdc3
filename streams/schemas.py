"""JSON Schema (draft 2020-12) of the two things that people write: events and config files.

The config's schema is made from the dataclasses that read it, so the two agree; what a schema cannot say
(contradictions, the conversion contract, bounds of durations) only `check-config` finds.
"""

from __future__ import annotations

from monitor.currencies import CURRENCIES
from monitor.fields import SEGMENT_FIELDS
from streams.config_entries import REFERENCE
from streams.config_goals import DimensionKeys, GoalKeys
from streams.config_kinds import Json
from streams.config_records import Record
from streams.settings import ConfigFile

DRAFT = "https://json-schema.org/draft/2020-12/schema"

#: What each segment field of an event says.
_SEGMENT_MEANINGS = {
    "device": "Kind of device, such as mobile or desktop.",
    "channel": "Marketing channel, such as organic, paid or email.",
    "source": "Where the visitor came from, such as a search engine's name.",
    "medium": "How he was led here, such as cpc or referral.",
    "campaign": "Name of the campaign that led him here.",
    "country": "Country, such as DE.",
    "producer": "Who sent the event, as name/version.",
}


def config_schema() -> Json:
    """JSON Schema of the config file."""
    top = Record(ConfigFile).schema()
    reference = REFERENCE.replace("?P<name>", "").replace("?P<or>", "").replace("?P<default>", "")
    return {
        "$schema": DRAFT,
        "title": "Config file of conversion-monitor",
        **top,
        "$defs": {
            "reference": {
                "type": "string",
                "pattern": reference,
                "description": "Taken from the environment: ${NAME}, or ${NAME:-default}.",
            },
            "goal": Record(GoalKeys).schema(),
            "dimension": Record(DimensionKeys).schema(),
        },
    }


def event_schema() -> Json:
    """JSON Schema of an event, the value of a message on the event topic."""
    return {
        "$schema": DRAFT,
        "title": "Event of conversion-monitor",
        "description": "One thing a visitor did. UTF-8 JSON; the key of the Kafka message is visitor_id. "
        "Unknown fields are ignored.",
        "type": "object",
        "required": ["event", "visitor_id", "timestamp"],
        "properties": {**_identity(), **_segments(), **_money()},
    }


def _identity() -> Json:
    return {
        "event": {
            "type": "string",
            "minLength": 1,
            "maxLength": 64,
            "pattern": r"^[A-Za-z0-9_.: -]+$",
            "description": "What was done; GA4's names by default.",
            "examples": ["page_view", "add_to_cart", "begin_checkout", "purchase", "sign_up"],
        },
        "visitor_id": _id("Who did it: the same in all events of a visitor. Stored as a salted hash only."),
        "timestamp": {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "integer", "description": "Milliseconds since 1970-01-01 UTC."},
            ],
            "description": "Event time: RFC 3339 with zone, or epoch milliseconds.",
            "examples": ["2026-11-27T08:00:00.250Z", 1795766400250],
        },
        "event_id": _id("Identity of the event: a repeat within dedupe_window is not counted again.", True),
        "session_id": _id("Session; without it a pause of session_gap ends a session.", True),
        "page": _text(2_048, "Path or URL."),
    }


def _segments() -> Json:
    texts = {name: _text(128, _SEGMENT_MEANINGS[name]) for name in SEGMENT_FIELDS if name != "currency"}
    return {
        **texts,
        "variant": {
            "type": ["object", "null"],
            "additionalProperties": {"type": "string"},
            "description": "Experiment → the variant that the visitor sees.",
        },
        "properties": {
            "type": ["object", "null"],
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
            "description": "Free fields; goals and dimensions name them as properties.<name>.",
        },
    }


def _money() -> Json:
    codes = sorted(code for code in CURRENCIES if code is not None)
    return {
        "value": {
            "anyOf": [
                {"type": "string", "pattern": r"^\d+(\.\d+)?$"},
                {"type": "number", "minimum": 0},
                {"type": "null"},
            ],
            "description": "Amount; a decimal string is exact.",
            "examples": ["19.99"],
        },
        "currency": {"enum": [*codes, None], "description": "ISO 4217 code of value."},
        "transaction_id": _id("Identity of the order: the same goal counts it once.", True),
    }


def _id(description: str, nullable: bool = False) -> Json:
    kind: object = ["string", "null"] if nullable else "string"
    return {"type": kind, "minLength": 1, "maxLength": 128, "description": description}


def _text(longest: int, description: str) -> Json:
    return {"type": ["string", "null"], "maxLength": longest, "description": description}
