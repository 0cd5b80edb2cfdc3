"""The yardstick: a bare aiokafka consumer that decodes every event with orjson and does nothing with it."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition


def waited(pid: int | str = "self") -> float:
    """Seconds in which threads of a process could run but had no core; 0 where the system does not say."""
    return sum(float(f.read_text().split()[1]) for f in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


async def read(bootstrap: str, topic: str, partitions: int) -> dict[str, float]:
    """Events, seconds and CPU seconds that it takes to read a whole topic."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        tps = [TopicPartition(topic, p) for p in range(partitions)]
        consumer.assign(tps)
        end = sum((await consumer.end_offsets(tps)).values())
        await consumer.seek_to_beginning()
        loads, n = orjson.loads, 0
        began, cpu, without_core = time.perf_counter(), time.process_time(), waited()
        while n < end:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    loads(record.value)
                n += len(records)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        return {"events": n, "seconds": seconds, "cpu_s": cpu_s, "waited_s": waited() - without_core}
    finally:
        await consumer.stop()


if __name__ == "__main__":
    found = asyncio.run(read(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    print(orjson.dumps(found).decode())
