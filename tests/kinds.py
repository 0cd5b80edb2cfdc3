"""A shop to which four things happen, one after the other: what the monitor should call each of them.

Two days of quiet business, then: the app stops sending its purchases; a campaign brings many visitors who buy nothing;
nine tenths of the traffic stay away; a release breaks the checkout on mobile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

#: 2024-01-15 00:00 UTC, a Monday.
BEGIN_MS = 1_705_276_800_000
MINUTE_MS = 60_000
#: Visitors a minute, and the share of them that buys.
VISITORS, RATE = 50, 0.2
#: Sender (`name/version`) → share of the visitors.
PRODUCERS = {"web-shop/3.1": 0.65, "app/2.1": 0.35}
DEVICES = {"mobile": 0.6, "desktop": 0.4}
#: What happens from one minute to another.
BEGINS = {"outage": 3_000, "campaign": 3_240, "away": 3_480, "broken": 3_720}
LASTS = 60
END = 3_960
#: Counting keys of the config.
KEYS: dict[str, Any] = {
    "clock": "event",
    "windows": ["1m", "1h"],
    "allowed_lateness": "10s",
    "dimensions": {"producer": {}, "channel": {}, "device": {}},
    "goals": {"purchase": {"kind": "macro", "match": {"event": "purchase"}}},
}


def happening(minute: int) -> str:
    """What happens in a minute; empty: nothing."""
    return next((name for name, at in BEGINS.items() if at <= minute < at + LASTS), "")


def events(seed: int) -> Iterator[dict[str, Any]]:
    """All events in order of event time."""
    rng = np.random.default_rng(seed)
    person = 0
    for minute in range(END):
        what = happening(minute)
        usual = rng.poisson(VISITORS * (0.1 if what == "away" else 1.0))
        campaign = rng.poisson(2 * VISITORS) if what == "campaign" else 0
        at = np.sort(rng.integers(0, MINUTE_MS - 1, usual + campaign))
        draws = rng.random((usual + campaign, 4))
        extra = set(rng.permutation(usual + campaign)[:campaign].tolist())
        for i, ms in enumerate(at.tolist()):
            person += 1
            producer = _pick(PRODUCERS, draws[i, 0])
            device = _pick(DEVICES, draws[i, 1])
            event = {
                "event": "page_view",
                "visitor_id": f"v{person}",
                "timestamp": BEGIN_MS + minute * MINUTE_MS + ms,
                "producer": producer,
                "channel": "social" if i in extra else ("email" if draws[i, 2] < 0.3 else "organic"),
                "device": device,
            }
            yield event
            silent = what == "outage" and producer.startswith("app/")
            broken = what == "broken" and device == "mobile"
            if draws[i, 3] < RATE and i not in extra and not silent and not broken:
                yield event | {"event": "purchase", "timestamp": event["timestamp"] + 1}


def purchases_lost(seed: int) -> float:
    """How many purchases the broken checkout costs on average: those of the people who were there."""
    begin = BEGIN_MS + BEGINS["broken"] * MINUTE_MS
    end = begin + LASTS * MINUTE_MS
    met = {e["visitor_id"] for e in events(seed) if begin <= e["timestamp"] < end and e["device"] == "mobile"}
    return RATE * len(met)


def _pick(shares: dict[str, float], draw: float) -> str:
    for name, share in shares.items():
        draw -= share
        if draw < 0:
            return name
    return next(reversed(shares))
