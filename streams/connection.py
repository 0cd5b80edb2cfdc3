"""Reaching the brokers: security settings as arguments of a client, waiting until one answers, readers of their own."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.errors import BrokerError

if TYPE_CHECKING:
    from streams.settings import Security

log = logging.getLogger(__name__)

#: Pause after the first failed try, in seconds; doubled each time up to `LONGEST_PAUSE_S`.
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
#: How long one address may take to accept a connection, in seconds.
CONNECT_TIMEOUT_S = 5.0
#: How long a broker may take to answer one request of an admin client, in ms.
REQUEST_TIMEOUT_MS = 10_000
#: How long a reader may take to close its connections, in seconds; then it goes on alone.
CLOSE_S = 5.0

#: Readers that close their connections.
_closing: set[asyncio.Future[Any]] = set()


def client_arguments(security: Security) -> dict[str, Any]:
    """Arguments for any aiokafka client; empty for a plain connection.

    Raises:
        BrokerError: A certificate file cannot be read; names the files.
    """
    if security.protocol == "PLAINTEXT":
        return {}
    arguments: dict[str, Any] = {"security_protocol": security.protocol}
    if security.protocol.endswith("SSL"):
        arguments["ssl_context"] = _ssl_context(security)
    if security.protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = security.mechanism
        arguments["sasl_plain_username"] = security.username
        arguments["sasl_plain_password"] = security.password
    return arguments


def _ssl_context(security: Security) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
        if security.cert_file is not None:
            context.load_cert_chain(security.cert_file, security.key_file)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(f for f in (security.ca_file, security.cert_file, security.key_file) if f)
        msg = f"certificates cannot be read from {files or 'the system'}: {error}"
        raise BrokerError(
            msg, remedy="kafka.security takes PEM files, cert_file with its key_file"
        ) from error
    return context


def log_waiting(reason: str) -> None:
    """The usual `on_wait`: one line in the log for each failed try."""
    log.warning(reason)


async def wait_for_broker(
    bootstrap: str,
    on_wait: Callable[[str], None] = log_waiting,
    timeout: float | None = None,
    **client_kwargs: Any,
) -> None:
    """Returns as soon as one of the brokers answers.

    Args:
        bootstrap: `host:port`, several with commas.
        on_wait: Told after each failed try what was tried, why it failed and when it is tried again.
        timeout: Seconds after which to give up; None = never.
        client_kwargs: Further arguments of the aiokafka client (security).

    Raises:
        BrokerError: None answered within `timeout`; says why.
    """
    clock = asyncio.get_running_loop().time
    started = clock()
    pause = FIRST_PAUSE_S
    while (reason := await try_broker(bootstrap, **client_kwargs)) is not None:
        tried = clock() - started
        if timeout is not None and tried + pause > timeout:
            msg = f"no Kafka broker at {bootstrap} within {timeout:g} s: {reason}"
            raise BrokerError(
                msg, remedy="is it running, and is kafka.bootstrap_servers (--bootstrap) right?"
            )
        on_wait(f"waiting for Kafka at {bootstrap}: {reason}; next try in {pause:g} s ({tried:.0f} s so far)")
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


async def try_broker(bootstrap: str, **client_kwargs: Any) -> str | None:
    """Asks for the cluster's metadata once; None if a broker answered, else why not."""
    # A bare connection first: its error says more than the client's, which also logs each refused try.
    if reason := await unreachable(bootstrap):
        return reason
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS, **client_kwargs
    )
    try:
        await admin.start()
        await admin.describe_cluster()
    except (KafkaError, OSError, TimeoutError) as error:
        return f"something listens there but does not answer as Kafka ({error}); check the security protocol"
    finally:
        await admin.close()
    return None


async def unreachable(bootstrap: str) -> str:
    """Why none of the brokers (`host:port`, several with commas) takes a connection; empty if one does."""
    refused = [await _refusal(address.strip()) for address in bootstrap.split(",")]
    return "" if None in refused else "; ".join(sorted({reason for reason in refused if reason}))


async def _refusal(address: str) -> str | None:
    """Why `host:port` takes no connection; None if it does."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except ValueError:
        return f"{address!r} is not host:port"
    except TimeoutError:
        return f"no connection within {CONNECT_TIMEOUT_S:g} s"
    except ConnectionRefusedError:
        return "connection refused"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    return None


@asynccontextmanager
async def reader(
    bootstrap: str, client_kwargs: Mapping[str, Any], **options: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer that commits nothing; without `group_id` of no group.

    Args:
        bootstrap: `host:port`, several separated by commas.
        client_kwargs: Further arguments of the aiokafka client (security).
        options: Of the consumer, where they differ from the usual: read from the beginning where nothing else is said.

    Raises:
        KafkaError: No broker there.
    """
    usual = {"group_id": None, "enable_auto_commit": False, "auto_offset_reset": "earliest"}
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, **{**usual, **options, **client_kwargs})
    try:
        await consumer.start()
        yield consumer
    finally:
        await _close(consumer)


async def _close(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer, as a task of its own.

    aiokafka stops its tasks by cancelling them, and one that has not begun yet, or waits for its next try, hands that on
    to whoever stops the consumer. He would end as if he had been cancelled himself: without a word, and with everything
    that is open left open.
    """

    async def end(stop: Callable[[], Awaitable[None]]) -> bool:
        """Whether it ended well."""
        stopping = asyncio.ensure_future(stop())
        await asyncio.wait({stopping})
        return not stopping.cancelled() and stopping.exception() is None

    async def close() -> None:
        if not await end(consumer.stop):
            for part in (consumer._fetcher, consumer._client):  # noqa: SLF001
                if part is not None:
                    await end(part.close)

    closing = asyncio.ensure_future(close())
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)
    await asyncio.wait({closing}, timeout=CLOSE_S)
