"""CPU of an event with four workers and with one, under the same steady load.

At a load for which one would start four workers. At a fifth of it they idle most of the time, and what a worker costs that
idles (some 1 % of a core) is what is seen; that is told as well.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time

from tests.benchmarks.figures import Figure
from tests.benchmarks.paced import MARKS_PER_S
from tests.benchmarks.stage import PATIENCE_S, PROJECT, Stage, events_of, say, spent_by
from tests.worker import wait_until

_VISITORS, _SECONDS = 100_000, 30.0
RATE, IDLE_RATE = 100_000, 20_000


def scaling(stage: Stage) -> list[Figure]:
    one, four = _cpu_us(stage, 1, RATE), _cpu_us(stage, 4, RATE)
    idle_one, idle_four = _cpu_us(stage, 1, IDLE_RATE), _cpu_us(stage, 4, IDLE_RATE)
    what = "CPU of an event, 4 workers ÷ 1 worker"
    return [
        Figure(what, four / one, "", 1.15, 1.05, most=True, text=_said(four, one, RATE)),
        Figure(f"{what}, mostly idle", idle_four / idle_one, text=_said(idle_four, idle_one, IDLE_RATE)),
    ]


def _said(four: float, one: float, rate: float) -> str:
    return f"{four:.1f} and {one:.1f} µs at {rate:,} events/s"


def _cpu_us(stage: Stage, number: int, rate: int) -> float:
    topic = stage.new_topic()
    workers = [stage.worker(topic)]
    workers += [stage.sibling(workers[0]) for _ in range(number - 1)]
    with contextlib.ExitStack() as stack:
        for worker in workers:
            stack.enter_context(worker.start())
        for worker in workers:
            worker.wait_ready()
        time.sleep(10)  # the partitions are shared out
        before = spent_by(*workers)
        numbers = (rate, _SECONDS, _VISITORS, 50, 0, MARKS_PER_S)
        command = [sys.executable, "-m", "tests.benchmarks.paced", stage.bootstrap, topic]
        done = subprocess.run(
            [*command, *map(str, numbers)],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            check=True,
            timeout=PATIENCE_S,
        )
        events = json.loads(done.stdout)["events"]
        wait_until(lambda: events_of(*workers) >= events, PATIENCE_S, "all is counted", every_s=0.5)
        spent = spent_by(*workers).since(before)
        busy = sum(events_of(worker) > 0 for worker in workers)
        assert busy == number, f"only {busy} of {number} workers had partitions"
    us = spent.cpu_s / events * 1e6
    say(f"workers: {number}, {rate:,} events/s, CPU of an event: {us:.2f} µs")
    return us
