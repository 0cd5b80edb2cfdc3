"""Many encoded events fast, for benchmarks: no funnel or sessions, but visitors who return and dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

#: Events made at one go: few enough that they need little memory.
CHUNK: Final = 50_000
#: Events and how often they occur; the last one is a conversion with an amount.
MIX: Final[Mapping[str, float]] = {
    "page_view": 0.72,
    "view_item": 0.18,
    "add_to_cart": 0.06,
    "purchase": 0.04,
}
DIMENSIONS: Final[Mapping[str, int]] = {"device": 3, "channel": 5, "country": 20}


def burst(
    n: int,
    *,
    visitors: int = 100_000,
    exponent: float = 1.0,
    start_ms: int = 1_700_000_000_000,
    span_ms: int = 600_000,
    dimensions: Mapping[str, int] = DIMENSIONS,
    seed: int = 0,
) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of `n` messages, in the order of their event times; the same for the same arguments.

    Args:
        n: How many.
        visitors: From how many visitors they come at most.
        exponent: Of Zipf's law: the visitor of rank r comes r^-exponent as often as the first; 0 = all alike.
        start_ms: First event time, epoch ms.
        span_ms: Event time that they are spread over evenly.
        dimensions: Field of the event → number of its values; `properties.x` is one too.
        seed: Of everything random.
    """
    random = np.random.default_rng(seed)
    shares = np.cumsum(np.arange(1, visitors + 1, dtype=np.float64) ** -exponent)
    shares /= shares[-1]
    template = _template(dimensions)
    names = list(MIX)
    for first in range(0, n, CHUNK):
        count = min(CHUNK, n - first)
        who = np.searchsorted(shares, random.random(count), side="right").tolist()
        what = random.choice(len(names), size=count, p=list(MIX.values())).tolist()
        when = (start_ms + (np.arange(first, first + count) * span_ms) // max(n, 1)).tolist()
        cents = random.integers(500, 50_000, size=count).tolist()
        values = [random.integers(0, size, size=count).tolist() for size in dimensions.values()]
        for i in range(count):
            tail = f"e{first + i}"
            if names[what[i]] == "purchase":
                amount = f"{cents[i] // 100}.{cents[i] % 100:02d}"
                tail += f'","value":"{amount}","currency":"EUR","transaction_id":"t{first + i}'
            text = template % (names[what[i]], who[i], when[i], *(column[i] for column in values), tail)
            yield b"v%d" % who[i], text.encode()


def _template(dimensions: Mapping[str, int]) -> str:
    """One event as a % template, its places in the order of `burst`'s arguments."""
    head = '{"event":"%s","visitor_id":"v%d","timestamp":%d'
    top = "".join(f',"{name}":"{name}-%d"' for name in dimensions if not name.startswith("properties."))
    inner = [name.removeprefix("properties.") for name in dimensions if name.startswith("properties.")]
    nested = ",".join(f'"{name}":"{name}-%d"' for name in inner)
    properties = f',"properties":{{{nested}}}' if inner else ""
    return head + top + properties + ',"event_id":"%s"}'
