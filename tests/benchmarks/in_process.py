"""CPU per event of decoding and counting alone, without Kafka, by windows, dimensions and visitors.

Each case lives in a process of its own (this module run with the case as JSON), which counts one part for
every line it is sent. They take turns, so that whatever else the machine does falls on all of them alike.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import orjson

from monitor.counts import Counts
from monitor.goals import Goal
from monitor.rules import Dimension, Rules
from monitor.shard import Shard
from monitor.windows import Window
from streams.events import Decoder
from streams.fetched import PART
from tests.benchmarks.load import Traffic, spread
from tests.benchmarks.stage import PROJECT

#: Windows of each number of them; four are those of all other benchmarks.
WINDOWS = {
    1: ("24h",),
    4: ("1m", "5m", "1h", "24h"),
    8: ("1m", "5m", "10m", "30m", "1h", "6h", "12h", "24h"),
}
#: Fields that are taken as dimensions, in this order; `page` has a thousand values.
FIELDS = ("device", "channel", "country", "producer", "event", "page")
GOALS = (
    Goal("purchase", "macro", (("event", frozenset({"purchase"})),), "value"),
    Goal("add_to_cart", "micro", (("event", frozenset({"add_to_cart"})),)),
    Goal("sign_up", "micro", (("event", frozenset({"sign_up"})),)),
)
#: All visitors come once within this; the events that are measured come right after.
_HISTORY_S, _NOW_S = 72_000, 240
#: Events of one part, and how many parts; the first one warms up.
_PART, _PARTS = 12_000, 7


@dataclass(frozen=True)
class Case:
    """What is counted: how many windows and dimensions, how many live visitors, events in a batch."""

    windows: int = 4
    dimensions: int = 3
    visitors: int = 100_000
    batch: int = 10_000  # about one fetch of one partition when there is a backlog


@dataclass(frozen=True)
class Cost:
    """CPU µs an event for decoding and for counting, CPU ms of one evaluation, bytes of state a visitor."""

    decode_us: float
    apply_us: float
    evaluate_ms: float
    visitor_bytes: float

    @property
    def us(self) -> float:
        """Decoding and counting."""
        return self.decode_us + self.apply_us


class Counted:
    """A shard in which all visitors of a case live already, and the events that it counts next."""

    def __init__(self, case: Case) -> None:
        windows = tuple(Window.parse(text) for text in WINDOWS[case.windows])
        dimensions = tuple(Dimension(f, f) for f in FIELDS[: case.dimensions])
        self.rules = rules = Rules(windows=windows, goals=GOALS, dimensions=dimensions)
        self._now = now = int(time.time() * 1000)
        self._decoder, self._shard = Decoder(rules), Shard(rules)
        everybody = Traffic(case.visitors, zipf=None, seed=1)
        for values in _batches(everybody, case.visitors, now - _NOW_S * 1000, _HISTORY_S, 10_000):
            self._shard.apply(self._decoder.decode(values, now).events, now)
        self._shard.forget()
        self._visitor_bytes = self._shard.nbytes / case.visitors
        self._batches = _batches(Traffic(case.visitors, seed=2), 2 * _PART * _PARTS, now, _NOW_S, case.batch)

    def part(self) -> Cost:
        """Count the next part."""
        decode = apply = events = 0
        while events < _PART:
            values = next(self._batches)
            reading = self._shard.begin()
            for first in range(0, len(values), PART):
                t0 = time.process_time_ns()
                decoded = self._decoder.decode(values[first : first + PART], self._now)
                t1 = time.process_time_ns()
                reading.add(decoded.events)
                decode, apply = decode + t1 - t0, apply + time.process_time_ns() - t1
            t0 = time.process_time_ns()
            self._shard.count(reading, self._now)
            apply, events = apply + time.process_time_ns() - t0, events + len(values)
        t0 = time.process_time_ns()
        self._shard.evaluate()
        evaluate_ms = (time.process_time_ns() - t0) / 1e6
        return Cost(decode / events / 1e3, apply / events / 1e3, evaluate_ms, self._visitor_bytes)

    def evaluate(self) -> Counts:
        """What the partition would say now."""
        return self._shard.evaluate()


def _batches(traffic: Traffic, n: int, end_ms: int, span_s: float, size: int) -> Iterator[list[bytes]]:
    times = spread(n, end_ms, span_s)
    for first in range(0, n, size):
        yield [value for _, _, _, value in traffic.messages(times[first : first + size])]


def measure(cases: Sequence[Case]) -> list[Cost]:
    """The costs of all cases: the median of their parts."""
    with contextlib.ExitStack() as stack:
        children = []
        for case in cases:
            given = orjson.dumps(asdict(case)).decode()
            command = [sys.executable, "-m", "tests.benchmarks.in_process", given]
            child = subprocess.Popen(
                command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
            stack.callback(_end, child)
            children.append(child)
            _answer(child)  # its visitors live
        parts: list[list[Cost]] = [[] for _ in cases]
        for _ in range(_PARTS):
            for child, costs in zip(children, parts, strict=True):
                assert child.stdin is not None
                child.stdin.write(b"\n")
                costs.append(Cost(**orjson.loads(_answer(child))))
    return [_median(costs[1:]) for costs in parts]


def _answer(child: subprocess.Popen[bytes]) -> bytes:
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, "a case has ended by itself"
    return line


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.communicate()


def _median(costs: Sequence[Cost]) -> Cost:
    table = np.array([list(asdict(cost).values()) for cost in costs])
    return Cost(*np.median(table, axis=0).tolist())


if __name__ == "__main__":
    counted = Counted(Case(**orjson.loads(sys.argv[1])))
    print("ready", flush=True)
    for _ in sys.stdin:
        print(orjson.dumps(asdict(counted.part())).decode(), flush=True)
