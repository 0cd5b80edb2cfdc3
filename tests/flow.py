"""A million lifelike events whose true numbers are easy to say: by numpy, from columns that are never events.

`Flow(n, seed)` draws the columns; `messages` makes the JSON of them, with repeats in between; `truth` reads
the numbers off the columns. Run as a program it publishes them from a process of its own:

    python -m tests.flow --bootstrap HOST:PORT --topic T --partitions 4 --events 1000000 --seed 1 --rate 20000
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from aiokafka import AIOKafkaProducer

from tests.murmur2 import partition_of

I64 = npt.NDArray[np.int64]

#: 2024-01-15 00:00 UTC.
BEGIN = 1_705_276_800_000
STEP_MS = 40
#: Events are out of order by less than this; the allowed lateness must be more.
JITTER_MS = 8_000
SESSION_GAP_MS = 1_800_000
DEVICES = ("desktop", "mobile", "tablet", "tv")
WINDOWS = {
    "1m": (60_000, 1_000),
    "5m": (300_000, 5_000),
    "1h": (3_600_000, 60_000),
    "24h": (86_400_000, 900_000),
}

#: Counting keys of the config that the truth is for.
KEYS: dict[str, Any] = {
    "clock": "event",
    "windows": list(WINDOWS),
    "allowed_lateness": "10s",
    "dimensions": {"device": {}},
    "goals": {
        "purchase": {"kind": "macro", "match": {"event": "purchase"}, "revenue": "value"},
        "sign_up": {"kind": "micro", "match": {"event": "sign_up"}},
    },
}


class Flow:
    """The columns of n events in the order in which they are sent, without repeats.

    Args:
        n: How many.
        seed: Of all that is drawn.
        step_ms: Event time from one event to the next, apart from the disorder.
    """

    def __init__(self, n: int, seed: int, step_ms: int = STEP_MS) -> None:
        rng = np.random.default_rng(seed)
        index = np.arange(n, dtype=np.int64)
        self.time: I64 = BEGIN + index * step_ms - rng.integers(0, JITTER_MS, n)
        # A pool of visitors that moves along: each comes about twenty times; some come back much later.
        newest = index // 20 + 1
        visitor = newest - rng.geometric(1 / 400, n) % (newest + 1)
        back = rng.random(n) < 0.03
        visitor[back] = (rng.random(n) * newest).astype(np.int64)[back]
        self.visitor: I64 = visitor
        # Even visitors say their session (a new one each 20 minutes), the sessions of odd ones are by gap.
        self.session: I64 = np.where(self.visitor % 2 == 0, (self.time - BEGIN) // 1_200_000, -1)
        self.device: I64 = (self.visitor * 7 // 3 + (rng.random(n) < 0.02) * index) % len(DEVICES)
        draw = rng.random(n)
        buys = 0.02 + 0.01 * (self.device == 0)
        self.goal: I64 = np.where(draw < buys, 0, np.where(draw < buys + 0.03, 1, -1))
        self.cents: I64 = rng.integers(1, 100_000, n)
        # A twentieth carries an id and is sent twice: the second time up to 3,000 events later.
        twice = np.flatnonzero(rng.random(n) < 0.05)
        self.with_id = np.zeros(n, bool)
        self.with_id[twice] = True
        sent = np.concatenate([index * 1.0, twice + rng.integers(1, 3_000, len(twice)) + 0.5])
        self.sent: I64 = np.concatenate([index, twice])[np.argsort(sent, kind="stable")]

    def messages(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each message in the order of sending, repeats included."""
        time_, visitor, session = self.time.tolist(), self.visitor.tolist(), self.session.tolist()
        device, goal, cents = self.device.tolist(), self.goal.tolist(), self.cents.tolist()
        with_id = self.with_id.tolist()
        for i in self.sent.tolist():
            name = f"visitor-{visitor[i]}"
            event: dict[str, Any] = {
                "event": ("purchase", "sign_up", "page_view")[goal[i]],
                "visitor_id": name,
                "timestamp": time_[i],
                "device": DEVICES[device[i]],
            }
            if session[i] >= 0:
                event["session_id"] = f"s{session[i]}"
            if goal[i] == 0:
                event["value"] = f"{cents[i] // 100}.{cents[i] % 100:02}"
                event["transaction_id"] = f"t{i}"
            if with_id[i]:
                event["event_id"] = f"e{i}"
            yield name.encode(), orjson.dumps(event)

    def truth(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """The numbers at the latest event time, as `oracle.table` has them."""
        at = int(self.time.max())
        rows: dict[tuple[str, str, str], dict[str, Any]] = {}

        def count(name: str, times: I64, device: I64, weight: I64 | None = None) -> None:
            for window, (length, pane) in WINDOWS.items():
                inside = times // pane > at // pane - length // pane
                for d in (None, *range(len(DEVICES))):
                    chosen = inside if d is None else inside & (device == d)
                    number: Any = int(chosen.sum() if weight is None else weight[chosen].sum())
                    if number:
                        key = (window, "all", "all") if d is None else (window, "device", DEVICES[d])
                        number = number if weight is None else Fraction(number, 100)
                        rows.setdefault(key, {})[name] = number

        for what, entity in (("visitors", self.visitor), ("sessions", self.sessions())):
            last, device = self._latest(entity)
            count(what, last, device)
            for goal, label in enumerate(("purchase", "sign_up")):
                done = np.full(len(last), -1, np.int64)
                hits = self.goal == goal
                np.maximum.at(done, entity[hits], self.time[hits])
                number = "converters" if what == "visitors" else "converting_sessions"
                count(f"{label}.{number}", done[done >= 0], device[done >= 0])
        for goal, label in enumerate(("purchase", "sign_up")):
            hits = self.goal == goal
            count(f"{label}.conversions", self.time[hits], self.device[hits])
        buys = self.goal == 0
        count("purchase.revenue.USD", self.time[buys], self.device[buys], self.cents[buys])
        return rows

    def after(self, messages: int) -> Flow:
        """What was sent with the first so many messages, for its truth."""
        part = copy.copy(self)
        part.sent = np.unique(self.sent[:messages])
        for name in ("time", "visitor", "session", "device", "goal", "cents", "with_id"):
            setattr(part, name, getattr(self, name)[part.sent])
        return part

    def _latest(self, entity: I64) -> tuple[I64, I64]:
        """Time and device of the latest event of each entity (0, 1, …); those without any event left out."""
        order = np.lexsort((self.device, self.time, entity))
        final = np.append(np.flatnonzero(np.diff(entity[order])), len(order) - 1)
        last = np.full(int(entity.max()) + 1, -1, np.int64)
        device = np.zeros(int(entity.max()) + 1, np.int64)
        last[entity[order[final]]] = self.time[order[final]]
        device[entity[order[final]]] = self.device[order[final]]
        return last, device

    def sessions(self) -> I64:
        """Number of each event's session: one more where visitor or id changes, or a gap is too long."""
        order = np.lexsort((self.time, self.session, self.visitor))
        visitor, session, time_ = self.visitor[order], self.session[order], self.time[order]
        begins = np.ones(len(order), bool)
        begins[1:] = (np.diff(visitor) != 0) | (np.diff(session) != 0)
        begins[1:] |= (session[1:] < 0) & (np.diff(time_) > SESSION_GAP_MS)
        number = np.empty(len(order), np.int64)
        number[order] = np.cumsum(begins) - 1
        return number


async def publish(
    flow: Flow, bootstrap: str, topic: str, partitions: int, rate: float | None = None
) -> dict[int, int]:
    """Sends all messages, each to the partition of its visitor; how many went to each."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=1 << 18, acks=1, request_timeout_ms=60_000
    )
    await producer.start()
    ends = dict.fromkeys(range(partitions), 0)
    places: dict[bytes, int] = {}
    began = time.monotonic()
    try:
        for number, (key, value) in enumerate(flow.messages()):
            partition = places.get(key)
            if partition is None:
                partition = places[key] = partition_of(key.decode(), partitions)
            ends[partition] += 1
            await producer.send(topic, value, key, partition)
            if rate is not None and number % 500 == 0:
                await asyncio.sleep(max(0.0, number / rate - (time.monotonic() - began)))
        await producer.flush()
    finally:
        await producer.stop()
    return ends


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float)
    given = parser.parse_args()
    flow = Flow(given.events, given.seed)
    ends = asyncio.run(publish(flow, given.bootstrap, given.topic, given.partitions, given.rate))
    print(orjson.dumps({str(partition): end for partition, end in ends.items()}).decode())


if __name__ == "__main__":
    main()
