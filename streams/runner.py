"""Runs a worker in the foreground until SIGTERM or Ctrl-C, or until it fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from dataclasses import replace

from streams.embedded import EmbeddedBroker
from streams.errors import MonitorError
from streams.factory import MonitorApp, create_app
from streams.settings import Settings

log = logging.getLogger(__name__)

#: How long stopping may take, seconds: the last checkpoint is done by then, what remains is closing connections.
STOP_S = 9.0


async def run_worker(settings: Settings, stop: asyncio.Event | None = None) -> None:
    """Run a worker (with the embedded broker if the settings say so) until it is told to stop.

    Raises:
        MonitorError: It could not start, or failed.
    """
    stop = stop or asyncio.Event()
    stop_on_signals(stop)
    async with contextlib.AsyncExitStack() as stack:
        if settings.kafka.embedded:
            broker = await stack.enter_async_context(EmbeddedBroker())
            settings = replace(settings, kafka=replace(settings.kafka, bootstrap_servers=broker.bootstrap))
        app = create_app(settings)
        await run_app(app, stop)


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` on SIGTERM and Ctrl-C."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def run_app(app: MonitorApp, stop: asyncio.Event) -> None:
    """Run an app until `stop` is set; errors as of `run_worker`."""
    started = asyncio.ensure_future(app.start())
    stopping = asyncio.ensure_future(stop.wait())
    ended = asyncio.ensure_future(app.wait_until_stopped())
    try:
        await asyncio.wait({started, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done() and started.exception() is None:
            await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        began = asyncio.get_running_loop().time()
        if not started.done():
            started.cancel()
        try:
            async with asyncio.timeout(STOP_S):
                await app.stop()
        except (Exception, asyncio.CancelledError) as error:
            log.warning("stopping was not clean: %r", error)
        log.info("stopped after %.1f s", asyncio.get_running_loop().time() - began)
        for task in (started, stopping, ended):
            task.cancel()
    failure = app.failure or app.crash_reason
    if started.done() and not started.cancelled():
        failure = failure or started.exception()
    if failure is None:
        return
    if isinstance(failure, MonitorError):
        raise failure
    msg = f"the worker failed: {failure!r}"
    raise MonitorError(
        msg, remedy="the log above has the details; restart it, nothing is lost or counted twice"
    ) from failure


def exit_at_once(code: int) -> None:
    """End the process without waiting for threads of libraries."""
    logging.shutdown()
    os._exit(code)
