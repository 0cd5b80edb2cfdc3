"""The product as the tests see it: the one place that follows its names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.fields import default_field
from monitor.goals import Goal
from monitor.rules import Dimension, Rules
from monitor.windows import Window, parse_duration


def rules_of(keys: Mapping[str, Any]) -> Rules:
    """The product's rules for the counting keys of a config file."""
    durations = {
        f"{name}_ms": parse_duration(keys[name])
        for name in ("allowed_lateness", "idle_after", "session_gap", "dedupe_window", "max_in_future")
        if name in keys
    }
    return Rules(
        windows=tuple(Window.parse(text) for text in keys.get("windows", ["1m", "5m", "1h", "24h"])),
        goals=tuple(_goal(name, given) for name, given in keys["goals"].items()),
        dimensions=tuple(
            Dimension(
                name, (given or {}).get("field") or default_field(name), (given or {}).get("max_values", 50)
            )
            for name, given in keys.get("dimensions", {}).items()
        ),
        clock=keys.get("clock", "event"),
        **durations,
    )


def _goal(name: str, given: Mapping[str, Any]) -> Goal:
    match = tuple(
        (path, frozenset(map(str, wanted)) if isinstance(wanted, list) else frozenset([str(wanted)]))
        for path, wanted in given["match"].items()
    )
    return Goal(
        name, given.get("kind", "macro"), match, given.get("revenue"), given.get("default_currency", "USD")
    )
