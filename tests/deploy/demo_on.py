"""The demo's worker, traffic and outage on a given broker, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio

from streams.demo import Script, running_demo
from streams.runner import exit_at_once, stop_on_signals


async def run(bootstrap: str, port: int, script: Script) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    async with running_demo(script, port, stop, bootstrap):
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("--port", type=int)
    parser.add_argument("--breaks-after", type=float, default=Script.breaks_s)
    parser.add_argument("--mended-after", type=float, default=Script.mended_s)
    given = parser.parse_args()
    asyncio.run(
        run(given.bootstrap, given.port, Script(breaks_s=given.breaks_after, mended_s=given.mended_after))
    )
    exit_at_once(0)
