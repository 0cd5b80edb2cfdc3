"""Between an assignment and the first message: what is done, in which order, and when it is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalStateError

from streams.recovery import Recovery


class App:
    """What a recovery asks of a Faust app; writes down what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.rebalancing_count = 0
        self.may_go_on = asyncio.Event()
        self.seek_fails = False
        self.cancels = 0
        say = self.said.append
        self.consumer = SimpleNamespace(
            stop_flow=lambda: say("stop"),
            resume_flow=lambda: say("flow"),
            resume_partitions=lambda tps: say(f"resume {sorted(tps)}"),
            assignment=lambda: {"p"},
            seek_all=self._seek,
        )
        self.flow_control = SimpleNamespace(suspend=lambda: None, resume=lambda: None)
        self.tables = SimpleNamespace(on_actives_ready=lambda: None, on_standbys_ready=lambda: None)
        self._fetcher = SimpleNamespace(maybe_start=lambda: asyncio.sleep(0))

    def on_rebalance_end(self) -> None:
        self.said.append("ready")

    async def recovered(self) -> None:
        self.said.append("read")
        if self.cancels:
            self.cancels -= 1
            raise asyncio.CancelledError
        try:
            await self.may_go_on.wait()
        except asyncio.CancelledError:
            self.said.append("left")
            raise

    async def _seek(self) -> None:
        self.said.append("seek")
        if self.seek_fails:
            raise IllegalStateError


@pytest.fixture
async def app() -> AsyncIterator[Any]:
    app = App()
    app.recovery = Recovery(app)  # type: ignore[attr-defined]
    async with app.recovery:  # type: ignore[attr-defined]
        yield app


async def rebalance(app: Any, *, assigned: bool = True) -> None:
    app.rebalancing_count += 1
    app.recovery.on_partitions_revoked(set())
    await asyncio.sleep(0.01)
    if assigned:
        await app.recovery.on_rebalance({"p"}, set(), {"p"}, 1)
        await asyncio.sleep(0.05)


async def test_messages_flow_once_all_is_read_and_sought(app: Any) -> None:
    await rebalance(app)
    assert app.said == ["stop", "read"]
    assert not app.recovery.done
    app.may_go_on.set()
    await asyncio.wait_for(app.recovery.completed.wait(), 1)
    assert app.said == ["stop", "read", "seek", "resume ['p']", "flow", "ready"]
    assert app.recovery.done


async def test_a_rebalance_ends_the_work_for_the_one_before(app: Any) -> None:
    await rebalance(app)
    await rebalance(app)
    assert app.said == ["stop", "read", "left", "stop", "read"]
    app.may_go_on.set()
    await asyncio.sleep(0.05)
    assert app.said[-1] == "ready"
    await rebalance(app)
    assert app.said.count("ready") == 2


async def test_no_message_flows_between_revocation_and_assignment(app: Any) -> None:
    app.may_go_on.set()
    await rebalance(app)
    assert app.recovery.done
    await rebalance(app, assigned=False)
    assert not app.recovery.done
    await asyncio.sleep(0.05)
    assert app.said.count("flow") == 1


async def test_a_partition_that_goes_away_while_it_is_sought_is_waited_for_no_longer(app: Any) -> None:
    app.may_go_on.set()
    app.seek_fails = True
    await rebalance(app)
    assert not app.recovery.done
    app.seek_fails = False
    await rebalance(app)
    assert app.recovery.done


async def test_what_nobody_ended_begins_again(app: Any) -> None:
    """A client library may hand a cancellation of its own on to its caller."""
    await rebalance(app)
    app.may_go_on.set()
    app.said.clear()
    app.cancels = 1
    await rebalance(app)
    assert app.recovery.done
    assert app.said.count("read") == 2


async def test_no_message_flows_once_another_rebalance_has_begun_elsewhere(app: Any) -> None:
    """The consumer's own thread knows of it first."""
    await rebalance(app)
    app.rebalancing_count += 1
    app.may_go_on.set()
    await asyncio.sleep(0.05)
    assert "flow" not in app.said
    await rebalance(app)
    assert app.recovery.done
