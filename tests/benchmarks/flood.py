"""Made-up visitors without end, in one window: memory stays flat once the limits bite, and what they forget is told."""

from __future__ import annotations

import time

from streams.settings import Limits
from tests.benchmarks.figures import Figure
from tests.benchmarks.live import LiveWorker
from tests.benchmarks.load import Traffic, spread
from tests.benchmarks.stage import Stage, count_all, rss, say, total

#: How many come, times the limit: almost to it (partitions are not of one size); until sessions, of which twice as many are
#: kept, are at theirs; and on.
_TIMES_LIMIT = (0.95, 2.2, 3.0)
#: All of them come within this, so that the longest window (24 h) holds everybody.
_SPAN_S = 72_000


def flood(stage: Stage) -> list[Figure]:
    """Three times as many visitors as the default limits allow, each with one event, a session and an event id."""
    limit = Limits().visitors
    everybody = int(limit * _TIMES_LIMIT[-1])
    times = spread(everybody, int(time.time() * 1000), _SPAN_S)
    traffic = Traffic(everybody, zipf=None, seed=20)
    one = LiveWorker(stage, everybody)
    worker = one.worker
    memory: list[int] = []
    for share in _TIMES_LIMIT:
        come = int(limit * share)
        stage.fill(one.topic, traffic.messages(times[one.published : come]))
        count_all(worker, come)
        one.published = come
        one.settle()
        memory.append(rss(worker) - one.empty_rss)
        forgotten = worker.metric("conversion_limit_reached_total")
        say(
            f"{come:,} visitors: {memory[-1] / 2**20:,.0f} MiB, {total(worker):,} counted, {forgotten:,.0f} forgotten"
        )
        assert bool(forgotten) == (share > 1), "forgets what it need not, or not what it must"
    counted = total(worker)
    assert 0.85 * limit <= counted <= limit, f"{counted} visitors counted, the limit is {limit}"
    worker.terminate()
    said = ", ".join(
        f"{size / 2**20:,.0f} MiB at {limit * share:,.0f}"
        for size, share in zip(memory, _TIMES_LIMIT, strict=True)
    )
    what = "a flood of visitors: memory once all limits bite, growth"
    return [
        Figure(what, memory[2] / memory[1], "×", 1.1, most=True, text=f"{said}; the limit is {limit:,}"),
        Figure(
            "memory of a visitor, just below the limit",
            memory[0] / (limit * _TIMES_LIMIT[0]),
            "B",
            400,
            200,
            most=True,
        ),
    ]
