"""Everything at once, on this machine: embedded broker, worker, lifelike traffic, and a checkout that breaks."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from streams.embedded import EmbeddedBroker
from streams.errors import PortError
from streams.factory import MonitorApp, create_app
from streams.runner import run_app
from streams.settings import Settings, parse_settings
from streams.traffic import Outage, Profile, Shop, publish_traffic

#: What the demo counts; also what `--config-out` would be a good start for.
CONFIG = """\
kafka: {bootstrap_servers: embedded, partitions: 4}
windows: [1m, 5m, 1h]
dimensions: [device, channel, country]
goals:
  purchase: {kind: macro, match: {event: purchase}, revenue: value, default_currency: EUR}
  add_to_cart: {kind: micro, match: {event: add_to_cart}}
  sign_up: {kind: micro, match: {event: sign_up}}
"""
#: Minutes of traffic from before the start, so that windows are not empty.
HISTORY_MIN = 30
#: The shop has been open for so long before that: longer than a session.
WARM_UP_MS = 120_000
#: A day passes in this many minutes. Not less: traffic that doubles within minutes is no shop's.
DAY_MIN = 480


@dataclass(frozen=True)
class Script:
    """What happens in the demo, seconds from its start.

    Attributes:
        rate: Events a second.
        breaks_s: When the checkout breaks on mobile.
        mended_s: When it works again.
        seed: Of everything random.
    """

    rate: float = 300.0
    breaks_s: float = 120.0
    mended_s: float = 420.0
    seed: int = 1


@dataclass
class Demo:
    """A running demo.

    Attributes:
        app: The worker.
        bootstrap: Address of the broker.
        url: Address of the live page.
        began: Wall clock of the start, epoch seconds.
        outage: When the checkout is broken.
        sent: Events published so far.
    """

    app: MonitorApp
    bootstrap: str
    url: str
    began: float
    outage: Outage
    sent: int = 0

    def note(self, count: int, _time_ms: int) -> None:
        """The traffic's progress."""
        self.sent = count


def demo_settings(port: int, bootstrap: str, data_dir: Path) -> Settings:
    """Settings of the demo's worker."""
    settings = parse_settings(CONFIG, {}, source="the demo's config")
    return replace(
        settings,
        kafka=replace(settings.kafka, bootstrap_servers=bootstrap),
        http=replace(settings.http, port=port),
        data_dir=data_dir,
    )


def open_shop(profile: Profile, now: float, seed: int) -> Shop:
    """A shop whose traffic begins `HISTORY_MIN` ago (`now` in epoch seconds), with people in all steps of a session."""
    begins_ms = int((now - HISTORY_MIN * 60) * 1000)
    shop = Shop(profile, begins_ms - WARM_UP_MS, seed)
    shop.until(begins_ms)
    return shop


def free_http_port(wanted: int | None) -> int:
    """The wanted port, or by default 8000 or the next free one.

    Raises:
        PortError: The wanted port (or each of twenty) is in use.
    """
    for port in [wanted] if wanted is not None else range(8000, 8020):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    what = f"port {wanted} is" if wanted is not None else "ports 8000 to 8019 are all"
    msg = f"{what} in use"
    raise PortError(msg, remedy="choose another one with --port")


@contextlib.asynccontextmanager
async def running_demo(
    script: Script, port: int | None, stop: asyncio.Event, bootstrap: str | None = None
) -> AsyncIterator[Demo]:
    """Start broker, worker and traffic; everything is gone afterwards. `stop` is set if the worker ends by itself.

    Args:
        script: What happens.
        port: Of HTTP; None: 8000 or the next free one.
        stop: Ends the demo.
        bootstrap: A broker to use instead of an embedded one; what is written stays there.

    Raises:
        MonitorError: Something could not start, or the worker failed.
    """
    port = free_http_port(port)
    async with contextlib.AsyncExitStack() as stack:
        data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conversion-monitor-")))
        if bootstrap is None:
            bootstrap = (await stack.enter_async_context(EmbeddedBroker())).bootstrap
        app = create_app(demo_settings(port, bootstrap, data_dir))
        worker = asyncio.ensure_future(run_app(app, stop))
        worker.add_done_callback(lambda _: stop.set())
        traffic: asyncio.Task[int] | None = None
        try:
            while not app.pipeline.ready()[0] and not stop.is_set():
                await asyncio.sleep(0.05)
            now = time.time()
            outage = Outage(int((now + script.breaks_s) * 1000), int((now + script.mended_s) * 1000))
            profile = Profile(
                rate=script.rate, visitors=20_000, day_ms=DAY_MIN * 60_000, swing=0.3, outage=outage
            )
            demo = Demo(app, bootstrap, f"http://127.0.0.1:{port}/", now, outage)
            if not stop.is_set():
                shop = open_shop(profile, now, script.seed)
                topic = app.pipeline.topology.topic
                traffic = asyncio.ensure_future(
                    publish_traffic(bootstrap, topic, shop, stop=stop, on_sent=demo.note)
                )
                traffic.add_done_callback(lambda _: stop.set())
                yield demo
        finally:
            stop.set()
            if traffic is not None:
                await asyncio.wait([traffic], timeout=5)
            await worker
        if traffic is not None and traffic.done() and not traffic.cancelled():
            traffic.result()
