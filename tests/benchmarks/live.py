"""One worker with many live visitors: its memory, half load (freshness, changelog, CPU), restarts, catching up."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Traffic, spread
from tests.benchmarks.paced import MARK, MARKS_PER_S
from tests.benchmarks.stage import PATIENCE_S, Stage, count_all, events_of, rss, say, spent_by, total
from tests.worker import Worker, wait_until

#: What `--only` may name.
NAMES = ("memory", "steady", "hot", "restart", "catchup")
VISITORS, FULL_VISITORS = 300_000, 1_000_000
#: Each visitor comes as often as this, spread over what the longest window holds.
_TIMES, _SPAN_S = 3, 80_000
#: Seconds at half load, of which the first ones do not count for freshness.
_STEADY_S, _WARM_S = 60.0, 5.0
_HOT_S, _HOT_SHARE = 30.0, 0.8
#: Most events that wait when a worker comes back: as many as it counts in some ten seconds.
OUTAGE_EVENTS, OUTAGE_S = 3_000_000, 600.0
#: How often freshness looks; the answer is small.
_LOOK_S = 0.05


class LiveWorker:
    """A worker, whose config has these changes, and its topic, which has these configs."""

    def __init__(
        self, stage: Stage, visitors: int, topic_configs: Mapping[str, str] | None = None, **changes: Any
    ) -> None:
        self.stage, self.visitors = stage, visitors
        self.topic = stage.new_topic(**(topic_configs or {}))
        self.published = 0
        self._seed = 100
        self.worker = stage.worker(self.topic, **changes).start().wait_ready()
        time.sleep(2)
        self.empty_rss = rss(self.worker)

    def populate(self) -> None:
        """All visitors come."""
        n = self.visitors * _TIMES
        say(f"{self.visitors:,} visitors come {_TIMES} times each")
        times = spread(n, int(time.time() * 1000), _SPAN_S)
        self.stage.fill(self.topic, Traffic(self.visitors, zipf=None, seed=10).messages(times))
        self.published += n
        count_all(self.worker, n)
        self.settle()
        assert total(self.worker) == self.visitors, f"{total(self.worker)} visitors of {self.visitors}"

    def settle(self) -> None:
        """Wait until all that was published is counted, saved and told."""
        self.stage.wait_committed(self.worker, self.topic, self.published)
        time.sleep(1)

    def paced(
        self, rate: float, seconds: float, hot: float = 0.0, marks: float = MARKS_PER_S
    ) -> subprocess.Popen[bytes]:
        """Publish at that rate, in another process."""
        self._seed += 1
        numbers = [rate, seconds, self.visitors if rate else 1, self._seed, hot, marks]
        return self.stage.child(
            "tests.benchmarks.paced", self.stage.bootstrap, self.topic, *map(str, numbers)
        )


def live(stage: Stage, visitors: int, rate: float, wanted: Collection[str]) -> list[Figure]:
    """The wanted figures; `rate` is half load, events a second."""
    one = LiveWorker(stage, visitors)
    one.populate()
    figures = []
    if "memory" in wanted:
        each = (rss(one.worker) - one.empty_rss) / visitors
        note = f"{visitors:,} visitors over {_SPAN_S / 3600:.0f} h; in all {rss(one.worker) / 2**20:.0f} MiB"
        figures.append(Figure("memory of a live visitor", each, "B", 400, 200, most=True, text=note))
        say(figures[-1].measured)
    if "steady" in wanted:
        figures += _steady(one, rate)
    if "hot" in wanted:
        figures.append(_hot(one, rate))
    if "restart" in wanted:
        figures += [_restart(one, "SIGTERM", Worker.terminate), _restart(one, "kill -9", Worker.kill)]
    if "catchup" in wanted:
        figures.append(_catch_up(one, 2 * rate))
    one.worker.terminate()
    return figures


def _steady(one: LiveWorker, rate: float) -> list[Figure]:
    say(f"half load: {rate:,.0f} events/s for {_STEADY_S:g} s")
    stage, worker = one.stage, one.worker
    log_before, spent_before = stage.changelog_bytes(worker), spent_by(worker)
    counted_before, marks_before = events_of(worker), total(worker, MARK)
    seen, scrapes, said = _watched(one, rate, _STEADY_S, marks_before)
    spent = spent_by(worker).since(spent_before)
    delays = _delays(said["marked"], seen)
    p50, p99 = np.percentile(delays, [50, 99]).tolist()
    events = events_of(worker) - counted_before
    changelog = (stage.changelog_bytes(worker) - log_before) / said["bytes"]
    series = sum(not line.startswith(b"#") for line in worker.get("/metrics")[1].splitlines())
    reached = said["events"] / _STEADY_S
    where = f"{reached:,.0f} events/s, {one.visitors:,} live visitors"
    found = [
        Figure(
            "published → visible at half load, p50",
            p50,
            "s",
            1,
            0.3,
            most=True,
            text=f"{len(delays)} marks; {where}",
        ),
        Figure("published → visible at half load, p99", p99, "s", 2, 1, most=True),
        Figure("changelog ÷ input bytes at half load", changelog, "", 0.15, 0.08, most=True, text=where),
        Figure("CPU of an event at half load", spent.cpu_s / events * 1e6, "µs"),
        Figure(
            "/metrics answered at half load, median",
            float(np.median(scrapes)) * 1000,
            "ms",
            text=f"{series:,} series",
        ),
    ]
    for figure in found:
        say(f"{figure.what}: {figure.measured}")
    return found


def _watched(
    one: LiveWorker, rate: float, seconds: float, marks_before: int, hot: float = 0.0
) -> tuple[list[tuple[float, float]], list[float], dict[str, Any]]:
    """Marks seen and when, how long scrapes took, what the publishers said together; all is counted then."""
    worker = one.worker
    publisher, marker = one.paced(rate, seconds, hot, marks=0), one.paced(0, seconds, hot)
    seen: list[tuple[float, float]] = []
    scrapes: list[float] = []

    def look() -> None:
        seen.append((total(worker, MARK) - marks_before, time.time()))
        if len(seen) % 100 == 0:  # as Prometheus does it every few seconds
            began = time.perf_counter()
            worker.get("/metrics")
            scrapes.append(time.perf_counter() - began)
        time.sleep(_LOOK_S)

    deadline = time.monotonic() + seconds + 20
    while (publisher.poll() is None or marker.poll() is None) and time.monotonic() < deadline:
        look()
    loaded, marked = (json.loads(each.communicate(timeout=30)[0]) for each in (publisher, marker))
    said = {key: loaded[key] + marked[key] for key in loaded}
    while seen[-1][0] < len(said["marked"]) and time.monotonic() < deadline + PATIENCE_S:
        look()
    one.published += said["events"]
    one.settle()
    return seen, scrapes, said


def _hot(one: LiveWorker, rate: float) -> Figure:
    say(f"a hot partition: {rate:,.0f} events/s for {_HOT_S:g} s")
    # A fourth of the events that are not sent there on purpose goes there, too.
    seen, _, said = _watched(one, rate, _HOT_S, total(one.worker, MARK), (_HOT_SHARE - 0.25) / 0.75)
    p99 = float(np.percentile(_delays(said["marked"], seen), 99))
    text = f"{_HOT_SHARE:.0%} of {said['events'] / _HOT_S:,.0f} events/s go to one of 4 partitions"
    return Figure(
        "a hot partition: published → visible on the others, p99", p99, "s", 2, most=True, text=text
    )


def _catch_up(one: LiveWorker, full_rate: float) -> Figure:
    """The rate at which a worker reads what waits for it, ÷ the full rate."""
    events = min(OUTAGE_EVENTS, int(OUTAGE_S * full_rate / 2))
    say(f"an outage of {OUTAGE_S:g} s: {events:,} events wait")
    one.worker.terminate()
    times = spread(events, int(time.time() * 1000), OUTAGE_S)
    one.stage.fill(one.topic, Traffic(one.visitors, seed=11).messages(times))
    one.published += events
    one.worker.start().wait_ready()
    used = count_all(one.worker, events)
    one.settle()
    text = f"{used.per_second:,.0f}/s, {events:,} events, {one.visitors:,} live visitors"
    return Figure("after an outage: rate ÷ full rate", used.per_second / full_rate, "", 0.8, text=text)


def _delays(marked: list[float], seen: list[tuple[float, float]]) -> list[float]:
    """Seconds from publishing each marked event until so many of them were seen."""
    counts, at = np.array([c for c, _ in seen]), np.array([t for _, t in seen])
    first = np.searchsorted(np.maximum.accumulate(counts), np.arange(1, len(marked) + 1))
    assert first.max() < len(at), "marked events are missing"
    delays = at[first] - np.array(marked)
    return [d for d, t in zip(delays.tolist(), marked, strict=True) if t >= marked[0] + _WARM_S]


def _restart(one: LiveWorker, how: str, end: object) -> Figure:
    """From the start of the process until it shows an event that came while it was down."""
    worker = one.worker
    marks, visitors = total(worker, MARK), total(worker)
    end(worker)  # type: ignore[operator]
    publisher = one.paced(1_000, 1)
    said = json.loads(publisher.communicate(timeout=60)[0])
    one.published += said["events"]
    wanted = marks + len(said["marked"])
    began = time.perf_counter()
    worker.start()
    wait_until(lambda: total(worker, MARK) >= wanted, PATIENCE_S, "the events are counted", every_s=0.05)
    seconds, spent_cpu = time.perf_counter() - began, spent_by(worker).cpu_s
    assert total(worker) >= visitors, f"{visitors} visitors before, {total(worker)} after"
    one.settle()
    say(f"restart after {how}: {seconds:.1f} s, {spent_cpu:.1f} s of CPU")
    note = f"{one.visitors:,} live visitors, {spent_cpu:.1f} s of CPU"
    return Figure(
        f"restart after {how} until the first fresh number", seconds, "s", 15, 6, most=True, text=note
    )
