"""CPU of an event with four workers and with one, under the same steady load."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time

from tests.benchmarks.figures import Figure
from tests.benchmarks.stage import PATIENCE_S, PROJECT, Stage, events_of, say, spent_by
from tests.worker import wait_until

_VISITORS, _SECONDS = 100_000, 30.0
#: Workers idle a good deal even on a machine with two cores.
RATE = 20_000


def scaling(stage: Stage) -> list[Figure]:
    one, four = _cpu_us(stage, 1), _cpu_us(stage, 4)
    note = f"{four:.1f} and {one:.1f} µs at {RATE:,} events/s"
    return [
        Figure("CPU of an event, 4 workers ÷ 1 worker", four / one, "", 1.15, 1.05, most=True, text=note),
    ]


def _cpu_us(stage: Stage, number: int) -> float:
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
        numbers = (RATE, _SECONDS, _VISITORS, 50)
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
    say(f"workers: {number}, CPU of an event: {us:.2f} µs")
    return us
