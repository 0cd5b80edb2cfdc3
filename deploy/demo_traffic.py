"""Lifelike traffic for the profile `demo` of docker-compose.yml, by the script of `conversion-monitor demo`.

A quarter of an hour of history at once, then events as they happen; after two minutes the mobile checkout
breaks. `python demo_traffic.py BROKER TOPIC`; SIGTERM ends it, also as process 1 of a container.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from streams.demo import DAY_MIN, HISTORY_MIN, Script
from streams.traffic import Outage, Profile, Shop, publish_traffic


async def main(bootstrap: str, topic: str) -> None:
    """Publishes until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    script, now = Script(), time.time()
    outage = Outage(int((now + script.breaks_s) * 1000), int((now + script.mended_s) * 1000))
    profile = Profile(rate=script.rate, visitors=20_000, day_ms=DAY_MIN * 60_000, swing=0.3, outage=outage)
    shop = Shop(profile, int((now - HISTORY_MIN * 60) * 1000), script.seed)
    print(
        f"publishing to {topic} on {bootstrap}; the mobile checkout breaks in {script.breaks_s:g} s",
        flush=True,
    )
    sent = await publish_traffic(bootstrap, topic, shop, stop=stop)
    print(f"{sent} events published", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
