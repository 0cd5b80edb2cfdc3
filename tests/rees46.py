"""The real shop file, and the numbers that it must give."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

FILE = "rees46-2019-10-01.csv"
#: Line of the file that is cut in the middle (the header is line 1).
CUT_LINE = 17_436

#: window → visitors, sessions, converters, conversions, converting sessions
EXPECTED = {
    "24h": (4_504, 5_067, 193, 214, 200),
    "1h": (4_046, 4_553, 184, 204, 191),
    "5m": (1_090, 1_135, 39, 42, 40),
    "1m": (447, 447, 11, 11, 11),
}
REVENUE_24H = Decimal("59442.63")

#: Counting keys of the config, as YAML has them.
KEYS: dict[str, Any] = {
    "clock": "event",
    "windows": ["1m", "5m", "1h", "24h"],
    "dimensions": {"brand": {"max_values": 20}},
    "goals": {
        "purchase": {"kind": "macro", "match": {"event": "purchase"}, "revenue": "value"},
        "cart": {"kind": "micro", "match": {"event": "add_to_cart"}},
    },
}

#: Options of `publish` that make events of the file's rows.
PUBLISH_OPTIONS = (
    *("--map", "event=event_type", "--map", "visitor_id=user_id", "--map", "session_id=user_session"),
    *("--map", "timestamp=event_time", "--map", "value=price", "--map", "properties.brand=brand"),
    *("--rename", "event=view:page_view", "--rename", "event=cart:add_to_cart"),
)

NAMES = {"view": "page_view", "cart": "add_to_cart"}


def events(directory: Path) -> Iterator[dict[str, Any]]:
    """The events of the file in its order, without the row that is cut."""
    with (directory / FILE).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["user_session"] is None:
                continue
            when = datetime.strptime(row["event_time"], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
            yield {
                "event": NAMES.get(row["event_type"], row["event_type"]),
                "visitor_id": row["user_id"],
                "session_id": row["user_session"],
                "timestamp": int(when.timestamp()) * 1000,
                "value": row["price"],
                "properties": {"brand": row["brand"]},
            }
