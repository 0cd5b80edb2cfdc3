"""Builds the Faust app of a worker from its settings."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import faust
from faust.types import TP
from mode import Service
from yarl import URL

from streams.agents import register_agents
from streams.errors import ConfigError, MonitorError, Problem
from streams.heap import give_back, share_one_heap
from streams.operator_commands import CommandReader
from streams.pipeline import TICK_S, Pipeline
from streams.recovery import Tables
from streams.settings import Settings
from streams.topology import SHARDS_TABLE, ensure_topics
from streams.web import create_web, serve

log = logging.getLogger(__name__)
#: Where Faust's own lines about starting and stopping of services go.
_FRAMEWORK = logging.getLogger("faust")

#: Batches that wait for the agent, over all partitions.
_BUFFERED_BATCHES = 4
#: Most bytes of one fetch of a partition: an event costs the less the larger its batch is (`docs/architecture.md`).
_FETCH_BYTES = 4 << 20
#: Seconds without a heartbeat after which a worker's partitions go to others; Apache Kafka takes no less.
_SESSION_TIMEOUT_S = 6.0
#: How long a rebalance may wait for a checkpoint, seconds.
_REVOKE_S = 10.0
#: How often to look whether the broker is there, seconds.
_WATCH_S = 2.0
#: Messages to the brokers may be this large: a dead letter is as large as what a publisher sent.
_MAX_MESSAGE_BYTES = 16 << 20
#: What a partition with thousands of segment values tells is above a broker's usual limit of 1 MB, and mostly zeros;
#: the limit is for what was compressed. aiokafka compresses lz4 as thoroughly as it can, at 40 times the price of zstd,
#: which brokers and clients have read since Apache Kafka 2.1.
_COMPRESSION = "zstd"


class MonitorApp(faust.App):  # type: ignore[misc]
    """Faust's app with the worker's HTTP, topics and clock around it."""

    logger = _FRAMEWORK
    pipeline: Pipeline
    failure: BaseException | None = None
    _http: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._when_recovered: list[Callable[[], Awaitable[None]]] = []
        super().__init__(*args, **kwargs)

    def when_recovered(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do this each time partitions are assigned, before any event is read; if it fails, the worker ends."""
        self._when_recovered.append(work)

    async def recovered(self) -> None:
        """All that is to be done with new partitions before a message is read."""
        try:
            for work in self._when_recovered:
                await work()
        except Exception as error:
            await self.fail(error)
            raise

    async def fail(self, error: Exception) -> None:
        """End the worker with this error: going on, or trying the same again, would not mend it."""
        self.failure = error
        await self.crash(error)

    @property
    def batches(self) -> Any:
        """What the transport asks about batched topics."""
        return self.pipeline.shards

    async def on_first_start(self) -> None:
        """Open HTTP, wait for the broker, make sure of the topics; only then does Faust connect."""
        await super().on_first_start()
        collect_seldom()
        share_one_heap()
        settings, pipeline = self.pipeline.settings, self.pipeline
        kafka = settings.kafka
        try:
            self._http = await serve(create_web(pipeline), settings.http.host, settings.http.port)
            pipeline.partitions = await ensure_topics(
                kafka.bootstrap_servers,
                pipeline.topology,
                partitions=kafka.partitions,
                replication_factor=kafka.replication_factor,
                create=kafka.create_topics,
                **pipeline.client_kwargs,
            )
        except MonitorError as error:
            self.failure = error
            raise

    async def on_started(self) -> None:
        """Start the clock once messages flow."""
        await super().on_started()
        log.info("counting %s", self.pipeline.topology.consumed)

    async def on_stop(self) -> None:
        """A last checkpoint, then stop."""
        try:
            async with asyncio.timeout(8):
                await self.pipeline.shards.checkpoint_all()
        except (Exception, asyncio.CancelledError) as error:
            log.warning(
                "the last checkpoint failed (%r): events since the one before are counted again", error
            )
        await super().on_stop()
        if self._http is not None:
            await self._http.cleanup()


class Clockwork(Service):  # type: ignore[misc]
    """The worker's regular work: checkpoints, telling stage two, following the others."""

    logger = _FRAMEWORK

    def __init__(self, app: MonitorApp, **kwargs: Any) -> None:
        self.monitor_app = app
        super().__init__(**kwargs)

    @Service.task  # type: ignore[untyped-decorator]
    async def _checkpoints(self) -> None:
        pipeline = self.monitor_app.pipeline
        while not self.should_stop:
            await self.sleep(pipeline.settings.checkpoint_interval_s)
            await pipeline.shards.checkpoint_all()
            give_back()

    @Service.task  # type: ignore[untyped-decorator]
    async def _ticks(self) -> None:
        while not self.should_stop:
            await self.sleep(TICK_S)
            await self.monitor_app.pipeline.tick()

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch(self) -> None:
        while not self.should_stop:
            await self.sleep(_WATCH_S)
            await self.monitor_app.pipeline.watch_broker()

    @Service.task  # type: ignore[untyped-decorator]
    async def _board(self) -> None:
        pipeline = self.monitor_app.pipeline
        await pipeline.board.follow(pipeline.settings.kafka.bootstrap_servers, pipeline.client_kwargs)

    @Service.task  # type: ignore[untyped-decorator]
    async def _commands(self) -> None:
        pipeline = self.monitor_app.pipeline
        reader = CommandReader(pipeline.topology.commands, lambda: pipeline.watcher)
        while not self.should_stop:
            await reader.follow(pipeline.settings.kafka.bootstrap_servers, pipeline.client_kwargs)
            await self.sleep(1.0)


def collect_seldom() -> None:
    """Let Python look for cycles seldom: events make none, and looking through them again and again cost some 15 %."""
    gc.set_threshold(20_000, 20, 20)


def create_app(settings: Settings) -> MonitorApp:
    """The app of a worker; nothing is connected yet.

    Raises:
        ConfigError: `kafka.bootstrap_servers: embedded`, which only `conversion-monitor run` can start.
    """
    if settings.kafka.embedded:
        problem = Problem(
            None,
            "kafka.bootstrap_servers",
            "embedded works only with `conversion-monitor run`",
            "name a broker",
        )
        source = "config"
        raise ConfigError(source, (problem,))
    pipeline = Pipeline(settings)
    kafka = settings.kafka
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    app = MonitorApp(
        kafka.group,
        TableManager=Tables,
        env={},  # Faust would let some eighty environment variables win over these arguments
        broker=[URL(f"batch://{server.strip()}") for server in kafka.bootstrap_servers.split(",")],
        broker_credentials=_credentials(pipeline.client_kwargs),
        autodiscover=False,
        origin=None,
        store=URL("memory://"),
        datadir=settings.data_dir,
        web_enabled=False,
        topic_disable_leader=True,
        reply_create_topic=False,
        stream_buffer_maxsize=_BUFFERED_BATCHES,
        consumer_max_fetch_size=_FETCH_BYTES,
        stream_wait_empty=False,
        table_standby_replicas=0,
        broker_session_timeout=_SESSION_TIMEOUT_S,
        broker_heartbeat_interval=_SESSION_TIMEOUT_S / 4,
        broker_rebalance_timeout=30.0,
        broker_request_timeout=30.0,
        broker_commit_interval=settings.checkpoint_interval_s,
        producer_max_request_size=_MAX_MESSAGE_BYTES,
        producer_compression_type=_COMPRESSION,
        producer_acks=-1,
        producer_request_timeout=30.0,
    )
    app.pipeline = pipeline
    pipeline.app = pipeline.shards.app = app
    # Its changelog is the durable copy of all shards, read and written record by record (`streams.shards`).
    app.Table(SHARDS_TABLE, key_type=bytes, value_type=bytes)

    async def take_over() -> None:
        await pipeline.shards.take_over(_assigned(app, pipeline.topology.consumed))

    app.when_recovered(take_over)

    @app.on_partitions_revoked.connect  # type: ignore[untyped-decorator]
    async def revoked(_app: Any, _revoked: Any, **_: Any) -> None:
        try:
            async with asyncio.timeout(_REVOKE_S):
                await pipeline.shards.checkpoint_all()
        except TimeoutError:
            log.warning(
                "no checkpoint within %g s before a rebalance; what is not saved is read again", _REVOKE_S
            )

    register_agents(app, pipeline)
    app.service(Clockwork(app))
    return app


def _assigned(app: Any, topic: str) -> list[int]:
    assignment: set[TP] = app.consumer.assignment()
    return [tp.partition for tp in assignment if tp.topic == topic]


def _credentials(client_kwargs: dict[str, Any]) -> Any:
    """Faust's form of the aiokafka security arguments."""
    protocol = client_kwargs.get("security_protocol")
    if protocol is None:
        return None
    context = client_kwargs.get("ssl_context")
    if "sasl_mechanism" in client_kwargs:
        return faust.SASLCredentials(
            username=client_kwargs["sasl_plain_username"],
            password=client_kwargs["sasl_plain_password"],
            mechanism=client_kwargs["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context)
