"""Figures of the core alone, without Kafka: events as things grow, state by its own count, scrapes, detectors."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from monitor.counters import PipelineCounters
from monitor.metrics import MAX_SERIES, ConversionCollector
from monitor.totals import Totals
from tests.benchmarks import detection_cost
from tests.benchmarks.figures import Figure
from tests.benchmarks.in_process import Case, Cost, Counted, measure
from tests.benchmarks.load import PARTITIONS
from tests.benchmarks.stage import say

BASE = Case()
#: What grows, and to what.
GROWS = {
    "windows": [replace(BASE, windows=n) for n in (1, 4, 8)],
    "dimensions": [replace(BASE, dimensions=n) for n in (1, 3, 6)],
    "visitors": [replace(BASE, visitors=n) for n in (10_000, 100_000, 1_000_000)],
}
BATCHES = [replace(BASE, batch=n) for n in (100, 300, 1_000, 3_000, 10_000)]


def growth() -> list[Figure]:
    """Cost of an event as the config or the population grows; and of batches of several sizes."""
    cases = list(dict.fromkeys(case for some in [*GROWS.values(), BATCHES] for case in some))
    say(f"{len(cases)} cases of decoding and counting in turn")
    costs = dict(zip(cases, measure(cases), strict=True))
    for case, cost in costs.items():
        say(f"{case}: decode {cost.decode_us:.2f} µs, count {cost.apply_us:.2f} µs")
    figures = []
    for what, some in GROWS.items():
        us = [costs[case].us for case in some]
        values = " / ".join(f"{getattr(case, what):,}" for case in some)
        factor = max(us) / min(us)
        figures.append(
            Figure(
                f"CPU of an event, {values} {what}",
                factor,
                "× of the smallest",
                1.3,
                1.1,
                most=True,
                text=_us(us),
            )
        )
    us = [costs[case].us for case in BATCHES]
    sizes = " / ".join(f"{case.batch:,}" for case in BATCHES)
    figures.append(Figure(f"CPU of an event, batches of {sizes}", None, text=_us(us)))
    base = costs[BASE]
    figures.append(
        Figure("decoding and counting", base.us, "µs", text=f"{base.decode_us:.2f} + {base.apply_us:.2f}")
    )
    figures.append(_memory(costs[BASE]))
    return figures


def _us(us: Sequence[float]) -> str:
    return " / ".join(f"{one:.2f}" for one in us) + " µs"


def _memory(cost: Cost) -> Figure:
    note = f"{BASE.visitors:,} visitors with one event each"
    return Figure(
        "state of a live visitor, by its own count", cost.visitor_bytes, "B", 400, 200, most=True, text=note
    )


def scrape() -> list[Figure]:
    """How long the event loop stands still for a scrape: adding partitions up and writing the text."""
    shards = [Counted(replace(BASE, visitors=5_000, dimensions=6)) for _ in range(PARTITIONS)]
    for shard in shards:
        shard.part()
    rules = shards[0].rules
    totals = Totals(rules, PARTITIONS)
    logging.getLogger("monitor.metrics").setLevel(logging.ERROR)  # that the limit bites is intended
    collector = ConversionCollector(totals.snapshot, PipelineCounters())
    adding, writing, text = [], [], b""
    for _ in range(9):
        for number, shard in enumerate(shards):
            totals.put(number, shard.evaluate())
        t0 = time.process_time()
        totals.snapshot()
        t1 = time.process_time()
        text = collector.exposition()
        adding.append(t1 - t0)
        writing.append(time.process_time() - t1)
    stall = (min(adding) + min(writing)) * 1000
    series = sum(line.startswith("conversion_") for line in text.decode().splitlines())
    parts = f"adding up {min(adding) * 1000:.1f} ms, text {min(writing) * 1000:.1f} ms"
    note = f"{series:,} series (limit {MAX_SERIES:,}): {parts}"
    return [Figure("stall of the event loop by a scrape", stall, "ms", 20, 5, most=True, text=note)]


def detection() -> list[Figure]:
    """The detectors."""
    cost = detection_cost.run()
    us, size = cost["us_per_series_minute"], cost["bytes_per_series"]
    note = "10,000 series"
    return [
        Figure("detectors, CPU of a series and minute", us, "µs", 1, 0.3, most=True, text=note),
        Figure("detectors, state of a series", size, "B", 1_500, most=True, text=note),
    ]
