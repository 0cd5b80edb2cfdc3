"""What open live pages cost a worker: less than 1 % of a core each, nothing without one."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
import time
from collections.abc import AsyncIterator

import pytest

from streams.web import LIVE, create_web, serve
from tests.shop_state import FakeState, Shop

pytestmark = pytest.mark.benchmark

#: Seconds each case is watched, with a new snapshot every second.
WATCHED_S = 8

#: Opens that many streams and reads them until it is ended.
READER = """
import selectors, socket, sys
port, pages = int(sys.argv[1]), int(sys.argv[2])
ready = selectors.DefaultSelector()
for _ in range(pages):
    page = socket.create_connection(("127.0.0.1", port))
    page.sendall(b"GET /api/v1/stream HTTP/1.1\\r\\nHost: here\\r\\n\\r\\n")
    ready.register(page, selectors.EVENT_READ)
while True:
    for key, _ in ready.select():
        key.fileobj.recv(1 << 16)
"""


@contextlib.asynccontextmanager
async def readers(port: int, pages: int) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", READER, str(port), str(pages))
    try:
        yield
    finally:
        process.kill()
        await process.wait()


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(("pages", "bound"), [(0, 0.01), (1, 0.01), (100, 0.10)])
async def test_share_of_a_core(pages: int, bound: float) -> None:
    start = time.time()
    shop = Shop(start - 4_000, broken_at=start - 900)
    snapshots = [shop.at(start + k) for k in range(WATCHED_S + 3)]
    state = FakeState(snapshots[0])
    app = create_web(state)
    runner = await serve(app, "127.0.0.1", 0)
    try:
        async with readers(runner.addresses[0][1], pages) if pages else contextlib.nullcontext():
            async with asyncio.timeout(10):
                while app[LIVE].open_streams < pages:
                    await asyncio.sleep(0.05)
            await asyncio.sleep(1)
            before = processor_seconds()
            for snapshot in snapshots[1 : WATCHED_S + 1]:
                state.current = snapshot
                await asyncio.sleep(1)
            share = (processor_seconds() - before) / WATCHED_S
    finally:
        await runner.cleanup()
    print(f"\n{pages} live pages: {share:.2%} of a core")
    assert share <= bound
