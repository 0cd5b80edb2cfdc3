"""Events a second of one worker that catches up, as a ratio to the bare loop on the same topic."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Traffic, spread
from tests.benchmarks.stage import Stage, Usage, count_all, say, total

#: Checkpoints are written every 5 s (the default); a run must see some of them.
EVENTS, QUICK_EVENTS, ROUNDS = 1_000_000, 300_000, 3


@dataclass(frozen=True)
class Round:
    """The bare loop and a worker, one after the other, on the same topic."""

    bare: Usage
    worker: Usage
    changelog_ratio: float

    @property
    def ratio(self) -> float:
        return self.worker.per_second / self.bare.per_second


def lifelike(stage: Stage, events: int, rounds: int) -> tuple[list[Figure], float]:
    """The main figure, and how many events a second a worker counts."""
    traffic = Traffic(events // 10)
    results = _rounds(stage, traffic, events, 600, rounds)
    ratio = Figure(
        "one worker, lifelike, ÷ bare loop",
        median(r.ratio for r in results),
        must=0.5,
        aim=1.0,
        text=_speeds(results),
    )
    return [ratio, *_details("lifelike", results)], median(r.worker.per_second for r in results)


def worst(stage: Stage, events: int, rounds: int) -> list[Figure]:
    """Every event a new visitor, each partition's next one mostly in a new pane of a second."""
    results = _rounds(stage, Traffic(events, zipf=None, seed=3), events, 80_000, rounds)
    ratio = Figure(
        "every event a new visitor ÷ bare loop",
        median(r.ratio for r in results),
        must=0.3,
        aim=0.45,
        text=_speeds(results),
    )
    return [ratio, *_details("every event a new visitor", results)]


def _rounds(stage: Stage, traffic: Traffic, events: int, span_s: float, rounds: int) -> list[Round]:
    topic = stage.new_topic()
    say(f"filling {topic}: {events:,} events of {traffic.visitors:,} visitors")
    size = stage.fill(topic, traffic.messages(spread(events, int(time.time() * 1000), span_s)))
    results = []
    for number in range(1, rounds + 1):
        bare = stage.bare(topic)
        worker = stage.worker(topic).start().wait_ready()
        counted = count_all(worker, events)
        late = worker.metric("conversion_events_late_total")
        rejected = worker.metric("conversion_events_rejected_total")
        assert late == rejected == 0, f"{late:g} late, {rejected:g} rejected"
        stage.wait_committed(worker, topic, events)
        visitors = total(worker)
        assert 0 < visitors <= traffic.visitors, f"{visitors} visitors of {traffic.visitors}"
        results.append(Round(bare, counted, stage.changelog_bytes(worker) / size))
        worker.terminate()
        say(f"round {number}: {_speeds(results[-1:])}, ratio {results[-1].ratio:.2f}")
    return results


def _speeds(results: Sequence[Round]) -> str:
    worker = median(r.worker.per_second for r in results)
    bare = median(r.bare.per_second for r in results)
    return f"{worker:,.0f}/s and {bare:,.0f}/s"


def _details(name: str, results: Sequence[Round]) -> list[Figure]:
    worker, bare = median(r.worker.cpu_us for r in results), median(r.bare.cpu_us for r in results)
    waited = max(u.waited for r in results for u in (r.bare, r.worker))
    changelog = median(r.changelog_ratio for r in results)
    return [
        Figure(
            f"{name}: CPU of the bare loop ÷ CPU of the worker, an event",
            bare / worker,
            text=f"{bare:.2f} and {worker:.2f} µs; threads waited for a core up to {waited:.0%} of the time",
        ),
        Figure(f"{name}: changelog ÷ input bytes while catching up", changelog),
    ]
