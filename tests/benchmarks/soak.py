"""`python -m tests.benchmarks.soak`: half an hour at half load; memory, lag and open files must stay flat.

Half load is half of what the worker counted at most just before, on the same machine. A run of at least 30 minutes writes
docs/soak.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from tests.benchmarks import throughput
from tests.benchmarks.figures import machine, markdown, today
from tests.benchmarks.live import VISITORS, LiveWorker
from tests.benchmarks.stage import PROJECT, Stage, events_of, rss, say, spent_by, stop_all_on_sigterm, total
from tests.brokers import KafkaUnavailableError

DOCUMENT = PROJECT / "docs" / "soak.md"
#: Seconds between two looks, and between two at the memory alone: every few seconds a checkpoint gives what is free back
#: to the system, and a second later it is in use again.
_EVERY_S, _MEMORY_EVERY_S = 5.0, 0.5
#: Minutes of one line of the report: longer than tables take between two times that they throw out what is old.
_LINE_MIN = 3.0
#: Short enough that everything that fills up is full early: who buys is remembered for the longest window, and a third
#: longer until that is thrown out.
WINDOWS = ["1m", "2m", "4m"]
#: Share of the run after which that is so.
_SETTLED = 0.2
#: What is flat: growth of the memory over the rest of the run, most events behind (seconds of the load), more files.
MEMORY_GROWTH, LAG_S, FILES = 0.05, 10.0, 8
#: What the broker keeps of the events: they would be 75 GB.
_RETENTION = {"retention.bytes": str(1 << 30), "segment.bytes": str(128 << 20)}
_RETENTION_CHECK = {"log.retention.check.interval.ms": "5000", "log.segment.delete.delay.ms": "1000"}


@dataclass(frozen=True)
class Look:
    """What was seen at a moment, and of the memory since the moment before.

    Attributes:
        minutes: Since the begin.
        memory_mib: Mean.
        least_mib: The least.
        most_mib: The most.
        lag: Events behind.
        files: Open files.
        events: Events counted.
    """

    minutes: float
    memory_mib: float
    least_mib: float
    most_mib: float
    lag: float
    files: int
    events: int


@dataclass(frozen=True)
class Soak:
    """A run.

    Attributes:
        rate: Events a second that were published.
        looks: What was seen.
        cpu_us: CPU microseconds an event.
        lost: Events that retention deleted before they were read.
        forgotten: What limits made the worker forget.
        exact: Whether all events were counted.
    """

    rate: float
    looks: Sequence[Look]
    cpu_us: float
    lost: float
    forgotten: float
    exact: bool

    @property
    def settled(self) -> Sequence[Look]:
        """The looks by which it is judged."""
        return [look for look in self.looks if look.minutes >= _SETTLED * self.looks[-1].minutes]

    def lines(self, looks: Sequence[Look]) -> list[list[Look]]:
        """Looks of the same `_LINE_MIN` minutes together; those of a last part that is too short are left out."""
        whole = int(looks[-1].minutes / _LINE_MIN + 0.1)
        by_line = (int(look.minutes / _LINE_MIN) for look in looks)
        lines: dict[int, list[Look]] = {}
        for number, look in zip(by_line, looks, strict=True):
            if number < whole:
                lines.setdefault(number, []).append(look)
        return list(lines.values())

    def verdicts(self) -> list[tuple[str, str, str, bool]]:
        """What, measured, bound, whether it holds."""
        lag_s = max(look.lag for look in self.settled) / self.rate
        files = [look.files for look in self.settled]
        return [
            *(
                (what, f"{grown:+.1%}", f"≤ {MEMORY_GROWTH:.0%}", grown <= MEMORY_GROWTH)
                for what, grown in (
                    ("growth of memory", growth([(look.minutes, look.memory_mib) for look in self.settled])),
                    (
                        f"growth of its least of {_LINE_MIN:g} minutes",
                        growth(
                            [
                                min((look.least_mib, look.minutes) for look in line)[::-1]
                                for line in self.lines(self.settled)
                            ]
                        ),
                    ),
                )
            ),
            ("most events behind", f"{lag_s:.2f} s of the load", f"≤ {LAG_S:g} s", lag_s <= LAG_S),
            (
                "open files, most - fewest",
                f"{max(files) - min(files)}",
                f"≤ {FILES}",
                max(files) - min(files) <= FILES,
            ),
            ("events lost to retention", f"{self.lost:.0f}", "0", not self.lost),
            ("all events counted", "yes" if self.exact else "no", "yes", self.exact),
        ]


def growth(seen: Sequence[tuple[float, float]]) -> float:
    """Of memory, given as (minutes, MiB): first to last of a straight line through it, ÷ its mean."""
    at, memory = np.array(seen).T
    slope = float(np.polyfit(at, memory, 1)[0])
    return slope * float(at[-1] - at[0]) / float(memory.mean())


def soak(stage: Stage, minutes: float) -> Soak:
    """Find half load, then keep it up."""
    _, full = throughput.lifelike(stage, throughput.QUICK_EVENTS, 1)
    one = LiveWorker(stage, VISITORS, _RETENTION, windows=WINDOWS)
    worker, rate = one.worker, full / 2
    say(f"{rate:,.0f} events/s for {minutes:g} minutes")
    assert worker.process is not None
    process = psutil.Process(worker.process.pid)
    counted, before = events_of(worker), spent_by(worker)
    publisher = one.paced(rate, minutes * 60, marks=0)
    began = time.monotonic()
    looks: list[Look] = []
    while publisher.poll() is None:
        memory = []
        next_look = time.monotonic() + _EVERY_S
        while not memory or time.monotonic() < next_look:
            memory.append(rss(worker) / 2**20)
            time.sleep(_MEMORY_EVERY_S)
        mean = sum(memory) / len(memory)
        lag = worker.metric("conversion_consumer_lag")
        passed = (time.monotonic() - began) / 60
        events = events_of(worker) - counted
        looks.append(Look(passed, mean, min(memory), max(memory), lag, process.num_fds(), events))
        if len(looks) % 24 == 1:
            say(f"{passed:4.1f} min: {mean:,.0f} MiB, {lag:,.0f} behind, {events:,} events")
    seconds = time.monotonic() - began
    published = _published(publisher)
    one.published += published
    one.settle()
    events = events_of(worker) - counted
    return Soak(
        rate=published / seconds,
        looks=looks,
        cpu_us=spent_by(worker).since(before).cpu_s / max(events, 1) * 1e6,
        lost=worker.metric("conversion_events_lost_total"),
        forgotten=worker.metric("conversion_limit_reached_total"),
        exact=events == published and total(worker, window=WINDOWS[-1]) > 0,
    )


def _published(publisher: subprocess.Popen[bytes]) -> int:
    return int(json.loads(publisher.communicate(timeout=30)[0])["events"])


def document(run: Soak, minutes: float) -> str:
    """docs/soak.md."""
    verdicts = [[what, said, bound, "PASS" if good else "FAIL"] for what, said, bound, good in run.verdicts()]
    lines = []
    for line in run.lines(run.looks):
        last = line[-1]
        mean = sum(look.memory_mib for look in line) / len(line)
        least, most = min(look.least_mib for look in line), max(look.most_mib for look in line)
        seen = last.minutes, mean, least, most, max(look.lag for look in line), last.files, last.events
        lines.append([f"{value:,.0f}" for value in seen])
    return f"""# Soak

Written by `make soak` on {today()}. Machine: {machine()}.

{minutes:g} minutes at half load, {run.rate:,.0f} events/s (three dimensions, three goals, windows of
{", ".join(WINDOWS)}, event and session ids, {VISITORS:,} visitors; a worker, its publisher and Apache Kafka on this
machine): {run.looks[-1].events:,} events, {run.cpu_us:.1f} µs of CPU each. Flat is judged over the last
{1 - _SETTLED:.0%} of the run: by then as many event ids are remembered as `limits.event_ids` allows
({run.forgotten:,.0f} were forgotten before their ten minutes were over).

{markdown([["what", "measured", "must", "verdict"], *verdicts])}

{markdown([["up to minute", "memory, mean MiB", "least", "most", "most events behind", "open files", "counted"], *lines])}

Memory goes up and down because tables throw out what is old once it is a fourth of their rows, and because a checkpoint
gives back what is free at that moment.
"""


def main() -> int:
    """Run, print and write the report; exit code 1 if something is not flat."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (30)")
    minutes = parser.parse_args().minutes
    stop_all_on_sigterm()
    try:
        with tempfile.TemporaryDirectory(prefix="conversion-monitor-soak-") as directory:
            say("starting Apache Kafka")
            with Stage(Path(directory), **_RETENTION_CHECK) as stage:
                run = soak(stage, minutes)
    except KafkaUnavailableError as error:
        print(f"Apache Kafka is needed: {error}", file=sys.stderr)
        return 2
    text = document(run, minutes)
    print(text)
    if minutes >= 30:
        DOCUMENT.write_text(text)
        print(f"written to {DOCUMENT.relative_to(PROJECT)}")
    return 0 if all(good for *_, good in run.verdicts()) else 1


if __name__ == "__main__":
    sys.exit(main())
