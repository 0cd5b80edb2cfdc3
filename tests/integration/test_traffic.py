"""The simulated shop against a broker: in real time, after catching up."""

import asyncio
import time

import orjson

from streams.traffic import Profile, Shop, publish_traffic
from tests.brokers import create_topic
from tests.integration.test_publish import read_all


async def test_catches_up_and_goes_on_in_real_time(broker, topic):
    await create_topic(broker.bootstrap, topic, 4)
    now = int(time.time() * 1000)
    shop = Shop(Profile(rate=200, swing=0), now - 30_000, seed=1)
    seen = []
    sent = await publish_traffic(
        broker.bootstrap,
        topic,
        shop,
        until_ms=now + 2_000,
        on_sent=lambda count, at: seen.append((count, at, time.time() * 1000)),
    )
    assert time.time() * 1000 >= now + 2_000
    live = [wall - at for _, at, wall in seen if at > now + 500]
    assert live
    assert sorted(live)[len(live) // 2] < 300  # ms behind the wall clock once it has caught up
    expected = Shop(Profile(rate=200, swing=0), now - 30_000, seed=1).until(now + 2_000)
    records = await read_all(broker.bootstrap, topic)
    assert sent == len(records) == len(expected)
    assert sorted(r.value for r in records) == sorted(map(orjson.dumps, expected))
    assert all(r.key.decode() == orjson.loads(r.value)["visitor_id"] for r in records)


async def test_stops_when_told(embedded, topic):
    await create_topic(embedded.bootstrap, topic, 1)
    stop = asyncio.Event()
    shop = Shop(Profile(rate=100), int(time.time() * 1000), seed=1)
    running = asyncio.create_task(publish_traffic(embedded.bootstrap, topic, shop, stop=stop))
    await asyncio.sleep(0.5)
    stop.set()
    assert await asyncio.wait_for(running, 5) == len(await read_all(embedded.bootstrap, topic))
