"""Publishes at a steady rate, with a marked event every now and then: when is it visible?

Run as a module of its own: `bootstrap topic rate seconds visitors seed hot marks`. `hot` is 0, or the share of events that
go to partition 0 besides those that do anyway; marked events then go to the others. `marks` is how many marked events are
sent a second; a process that sends nothing else has no queue of its own before the broker. Prints as JSON the events and
bytes of all values and, for each marked event in order, the wall clock at which it was handed to the producer.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time

import numpy as np
import orjson

from tests.benchmarks.load import ACTIONS, Message, Traffic, partition_of, publishing

#: Goal and event name of the marked events; nothing else in this traffic meets it.
MARK = "sign_up"
#: Marked events a second. Not a divisor of anything that the worker does regularly.
MARKS_PER_S = 23
_STEP_S = 0.01


def _mark(number: int, seed: int, *, elsewhere: bool) -> Message:
    now = int(time.time() * 1000)
    names = (f"mark-{seed}-{number}-{trial}" for trial in itertools.count())
    visitor = next(name for name in names if not elsewhere or partition_of(name.encode()))
    value = {
        "event": MARK,
        "visitor_id": visitor,
        "timestamp": now,
        "event_id": visitor,
        "session_id": visitor,
        "device": "mobile",
        "channel": "direct",
        "country": "DE",
    }
    key = visitor.encode()
    return partition_of(key), now, key, orjson.dumps(value)


async def publish(
    bootstrap: str,
    topic: str,
    rate: float,
    seconds: float,
    visitors: int,
    seed: int,
    hot: float,
    marks: float,
) -> dict[str, object]:
    """Publish for so long; what is late because the machine was busy is made up for."""
    traffic = Traffic(visitors, seed=seed, actions={k: v for k, v in ACTIONS.items() if k != MARK}, hot=hot)
    marked: list[float] = []
    async with publishing(bootstrap, topic) as publisher:
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            due = int(passed * rate) - traffic.made
            if due > 0:
                now = int(time.time() * 1000)
                await publisher.publish(traffic.messages(np.full(due, now, np.int64)))
            while len(marked) < passed * marks:
                marked.append(time.time())
                await publisher.publish([_mark(len(marked), seed, elsewhere=hot > 0)])
            await publisher.flush()
            await asyncio.sleep(_STEP_S)
    return {"events": traffic.made + len(marked), "bytes": publisher.bytes, "marked": marked}


if __name__ == "__main__":
    host, to, *numbers = sys.argv[1:]
    given = [float(n) for n in numbers]
    found = asyncio.run(
        publish(host, to, given[0], given[1], int(given[2]), int(given[3]), given[4], given[5])
    )
    print(orjson.dumps(found).decode())
