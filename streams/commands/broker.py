"""`conversion-monitor broker`: the embedded broker alone, in the foreground."""

from __future__ import annotations

import asyncio
import signal
import sys

import click
import orjson

from streams.embedded import EmbeddedBroker
from streams.errors import BrokerError

_EPILOG = """\b
Examples:
  conversion-monitor broker
  conversion-monitor broker --port 0 --json | jq -r .bootstrap
"""


@click.command(name="broker", epilog=_EPILOG)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=9_092, show_default=True, help="0 = any that is free."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line when it is ready, instead of text.")
def command(port: int, as_json: bool) -> None:
    """The embedded Kafka-compatible broker, in the foreground, until Ctrl-C or SIGTERM.

    For first steps and tests on this machine. It listens on 127.0.0.1 only, without TLS or passwords, and
    keeps everything in memory: when it ends, all topics are gone. For more, use Apache Kafka.
    """
    asyncio.run(_serve(port, as_json))


async def _serve(port: int, as_json: bool) -> None:
    stop = asyncio.Event()
    if sys.platform != "win32":
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with EmbeddedBroker(port) as broker:
        if as_json:
            click.echo(orjson.dumps({"bootstrap": broker.bootstrap, "pid": broker.pid}))
        else:
            click.echo(f"embedded broker on {click.style(broker.bootstrap, bold=True)}")
            click.echo(
                "in memory, this machine only, no TLS: when it ends, its topics are gone. Ctrl-C ends it."
            )
        asked = asyncio.create_task(stop.wait())
        ended = asyncio.create_task(broker.wait())
        await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
        died = ended.done() and not asked.done()
        for task in (asked, ended):
            task.cancel()
        if died:
            said = "\n    ".join(broker.output)
            msg = f"the embedded broker on {broker.bootstrap} ended by itself; it said:\n    {said}"
            raise BrokerError(msg)
