"""A worker whose last step before it counts again takes long, with everything it must read waiting for it.

Between this step, the seek to what is counted, and the moment at which events flow, what is fetched may come too early.
On a busy machine that lasts a few milliseconds, and once in some hundred rebalances something comes in them.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.brokers import create_topic
from tests.conftest import Broker
from tests.integration.test_trouble import PARTITIONS, config, events, send, wait_for_truth
from tests.worker import Worker

#: `conversion-monitor` with a second between the seek and what follows it; meanwhile agents do not get their turn.
SLOW = """
import asyncio, sys
from mode.utils.queues import FlowControlQueue
from streams.cli import main
from streams.transport import Consumer

seek, wake, late = Consumer.seek_all, FlowControlQueue._wakeup_next, False

async def slowly(consumer):
    global late
    late = True
    await seek(consumer)
    await asyncio.sleep(1.0)
    asyncio.get_running_loop().call_later(0.2, on_time)

def on_time():
    global late
    late = False

def wake_late(queue, waiters):
    if late:
        asyncio.get_running_loop().call_later(1.5, wake, queue, waiters)
    else:
        wake(queue, waiters)

Consumer.seek_all, FlowControlQueue._wakeup_next = slowly, wake_late
sys.exit(main())
"""


@pytest.mark.timeout(180)
def test_what_is_fetched_too_early_is_not_lost(kafka: Broker, topic: str, group: str, tmp_path: Path) -> None:
    """Nothing comes after it that would have it read again: neither an event nor, for the totals, another worker."""
    found = events(900)
    given = config(kafka.bootstrap, topic, group, checkpoint_interval="30s")
    asyncio.run(create_topic(kafka.bootstrap, topic, PARTITIONS))
    with Worker(tmp_path, given, "before") as before:
        before.start().wait_ready()
        asyncio.run(send(kafka.bootstrap, topic, found[:300]))
        wait_for_truth(before, found[:300])
        before.kill()
    asyncio.run(send(kafka.bootstrap, topic, found[300:]))
    with Worker(tmp_path, given, "slow", (sys.executable, "-c", SLOW)) as slow:
        slow.start().wait_ready()
        wait_for_truth(slow, found)
