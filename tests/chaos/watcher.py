"""Looks all the time at what the workers tell: totals that can only rise must never fall.

The longest window holds every event of a life, so its visitors, converters, conversions and revenue only rise
while events are counted. Sessions may not: an event that comes late can join two. Of the values of a dimension
only conversions and revenue rise: a visitor can move to another value.

A worker that wakes up or was cut off can tell what was true some seconds ago: that is noted as a fall. Nothing may be told
that is older than `STALE_S`, or 0 after something: that is a dip. Who says that his numbers stand still
(`complete: false`) may have been left behind by the others, but may not fall either.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tests import oracle
from tests.worker import Worker, rows_of

#: Pause between two questions to a worker, seconds.
EVERY_S = 0.1
#: A worker that does not answer within this is asked again, seconds.
ANSWER_S = 1.0
WINDOW = "24h"
#: Longer than any hang or cut of an episode and the rebalance after it, seconds.
STALE_S = 30.0
#: Window, dimension, value, number.
Key = tuple[str, str, str, str]
Table = Mapping[tuple[str, str, str], Mapping[str, Any]]


def rising(table: Table) -> dict[Key, Any]:
    """The numbers of a table that only rise."""
    found = {}
    for (window, dimension, value), numbers in table.items():
        for name, number in numbers.items():
            sums = name.endswith(".conversions") or ".revenue." in name
            people = name == "visitors" or name.endswith(".converters")
            if window == WINDOW and (sums or (people and dimension == "all")):
                found[window, dimension, value, name] = number
    return found


@dataclass
class Fall:
    """A number that fell.

    Attributes:
        worker: Who told it.
        key: Which number.
        before: The highest told by then.
        lowest: The lowest told after.
        began: When (monotonic, seconds).
        seconds: Until as much was told again; None while it is not.
        own: The same process had told more.
    """

    worker: str
    key: Key
    before: Any
    lowest: Any
    began: float
    own: bool
    seconds: float | None = None


def summary(falls: Sequence[Fall]) -> list[str]:
    """A line for each worker that told less than had been told, with the number that fell most."""
    groups: dict[tuple[str, int], list[Fall]] = {}
    for fall in falls:
        groups.setdefault((fall.worker, int(fall.began)), []).append(fall)
    lines = []
    for (worker, _), group in groups.items():
        worst = max(group, key=lambda fall: 1 - fall.lowest / fall.before)
        whole = next((f for f in group if f.key[1:] == ("all", "all", "visitors")), worst)
        ended = [fall.seconds for fall in group if fall.seconds is not None]
        lasted = f"for {max(ended):.1f} s" if len(ended) == len(group) else "until the end"
        who = "it" if whole.own else "another"
        lines.append(
            f"{worker} told less in {len(group)} numbers {lasted}: {' '.join(whole.key)} "
            f"{float(whole.lowest):g} after {who} had told {float(whole.before):g}, the worst by "
            f"{float(1 - worst.lowest / worst.before):.1%}"
        )
    return lines


class Watcher:
    """Asks each worker every `EVERY_S`, in a thread for each; use as a context."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(w,), daemon=True) for w in workers]
        self._highest: dict[Key, Any] = {}
        self._own: dict[int, dict[Key, Any]] = {}
        self._open: dict[Key, Fall] = {}
        self._holders: dict[int, float] = {}
        self._history: deque[tuple[float, dict[Key, Any]]] = deque()
        self._stale: dict[Key, Any] = {}
        self.falls: list[Fall] = []
        #: What was told and was too old, a line each.
        self.dips: list[str] = []
        #: Answers with totals, and how many of them were new.
        self.answers = self.changes = 0
        #: Answers that claimed to be of now while another worker's did so, too, within `EVERY_S`.
        self.doubles = 0
        #: Answers that said that a partition is missing, so that the totals stand still.
        self.incomplete = 0
        self._last: dict[int, bytes] = {}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(3)

    def above(self, truth: Table) -> list[str]:
        """Numbers told that are higher than the truth of now, a line each."""
        wanted = rising(truth)
        with self._lock:
            return [
                f"{' '.join(key)}: {told} was told, and it is {wanted.get(key, 0)}"
                for key, told in sorted(self._highest.items())
                if told > wanted.get(key, 0)
            ]

    def take_falls(self) -> list[Fall]:
        """The falls since this was asked last."""
        with self._lock:
            taken, self.falls = self.falls, []
            return taken

    def _watch(self, worker: Worker) -> None:
        while not self._stop.wait(EVERY_S):
            process = worker.process
            if process is None or process.poll() is not None:
                continue
            asked = time.monotonic()
            body = ask(worker.port)
            # An answer of a process that is gone, or that hung before it answered, says nothing of now.
            if body is not None:
                with self._lock:
                    self._see(worker.config_file.stem, process.pid, asked, body)

    def _see(self, worker: str, pid: int, asked: float, body: bytes) -> None:
        now = time.monotonic()
        self.answers += 1
        standing = b'"complete":false' in body[:200]
        self.incomplete += standing
        if not standing:
            self.doubles += any(other != pid and asked - at < EVERY_S for other, at in self._holders.items())
            self._holders[pid] = now
        if self._last.get(pid) == body:
            return
        self._last[pid] = body
        self.changes += 1
        own = self._own.setdefault(pid, {})
        told = rising(oracle.table(rows_of(json.loads(body))))
        self._remember(now)
        for key in self._highest.keys() | told.keys():
            number, before = told.get(key, 0), self._highest.get(key, 0)
            if standing and key in own and own[key] <= number < before:
                continue  # the others have left him behind, and he says so
            if number < self._stale.get(key, 0) or (not number and before):
                self.dips.append(f"{' '.join(key)}: {worker} told {number} after {before}")
            if number >= before:
                self._highest[key] = number
                if (fall := self._open.pop(key, None)) is not None:
                    fall.seconds = now - fall.began
            elif key in self._open:
                self._open[key].lowest = min(self._open[key].lowest, number)
            else:
                fall = Fall(worker, key, before, number, now, number < own.get(key, 0))
                self._open[key] = fall
                self.falls.append(fall)
            own[key] = max(number, own.get(key, 0))

    def _remember(self, now: float) -> None:
        """Keep the highest numbers of each second for as long as they may be told."""
        if not self._history or now - self._history[-1][0] >= 1.0:
            self._history.append((now, dict(self._highest)))
        while now - self._history[0][0] > STALE_S:
            self._stale = self._history.popleft()[1]


def ask(port: int) -> bytes | None:
    """The answer of the worker if it holds the totals."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request("GET", f"/api/v1/rates?window={WINDOW}")
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
