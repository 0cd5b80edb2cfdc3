"""What is tried again, and what is not."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiokafka.errors import KafkaConnectionError

from streams.errors import BrokerError, StateError
from streams.patience import until_done


class Work:
    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.tries = 0

    async def __call__(self) -> int:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return 42


async def test_what_works_is_done_once() -> None:
    work = Work()
    assert await until_done("x", work) == 42
    assert work.tries == 1


async def test_a_broker_that_is_away_is_waited_for() -> None:
    work = Work(
        KafkaConnectionError(), BrokerError("gone", remedy=""), ConnectionResetError(), TimeoutError()
    )
    assert await until_done("x", work, pause_s=0) == 42
    assert work.tries == 5


@pytest.mark.parametrize("error", [StateError("other version", remedy=""), ValueError("bug"), KeyError(1)])
async def test_any_other_error_is_not_hidden(error: Exception) -> None:
    work = Work(TimeoutError(), error)
    with pytest.raises(type(error)):
        await until_done("x", work, pause_s=0)
    assert work.tries == 2


async def test_it_can_be_cancelled() -> None:
    task = asyncio.ensure_future(until_done("x", Work(*[TimeoutError()] * 1_000), pause_s=0.01))
    await asyncio.sleep(0.03)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_log_says_so_ever_more_seldom(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await until_done("saving partition 3", Work(*[TimeoutError("no\nanswer")] * 100), pause_s=0)
    lines = [r.getMessage() for r in caplog.records]
    assert len(lines) == 7, "after 1, 2, 4, … 64 tries"
    assert lines[0] == "saving partition 3 failed (no); trying again in 0 s"
