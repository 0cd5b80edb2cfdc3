"""When a recovery counts as standing still."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from streams.standstill import STANDS_STILL_S, Standstill


class Signal:
    def __init__(self) -> None:
        self.times = 0

    def set(self) -> None:
        self.times += 1


@pytest.fixture
def app() -> Any:
    recovery = SimpleNamespace(active_offsets={"p": 5}, signal_recovery_start=Signal())
    tables = SimpleNamespace(recovery=recovery)
    return SimpleNamespace(rebalancing=True, consumer_generation_id=3, tables=tables)


def begun_again(app: Any, changes: dict[str, Any] | None = None, *, moves: bool = False) -> int:
    """How often a recovery begins again within three times the limit."""
    now = [0.0]
    standstill = Standstill(app, lambda: now[0])
    standstill.assigned = True
    answers = True
    for name, value in (changes or {}).items():
        if name == "answers":
            answers = value
        else:
            setattr(standstill if hasattr(standstill, name) else app, name, value)
    for _ in range(int(3 * STANDS_STILL_S) + 1):
        standstill.look(answers)
        now[0] += 1.0
        if moves:
            app.tables.recovery.active_offsets["p"] += 1
    times: int = app.tables.recovery.signal_recovery_start.times
    return times


def test_one_that_reads_nothing_begins_again_each_time_the_limit_is_over(app: Any) -> None:
    assert begun_again(app) == 3


def test_one_that_reads_is_let_alone(app: Any) -> None:
    assert begun_again(app, moves=True) == 0


@pytest.mark.parametrize(
    "changes", [{"rebalancing": False}, {"assigned": False}, {"ours": True}, {"answers": False}]
)
def test_it_is_let_alone_while_something_else_is_waited_for(app: Any, changes: dict[str, Any]) -> None:
    """It is over; partitions are not assigned yet; the worker claims its partitions; the broker is away."""
    assert begun_again(app, changes) == 0
