"""The parts of the chaos run that decide whether something is wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams import told
from streams.ledger import Claim
from tests.chaos.audit import Audit
from tests.chaos.plan import KINDS, Wanted, long_plan, short_plan
from tests.chaos.report import document
from tests.chaos.run import Done, Lived, Run
from tests.chaos.watcher import Watcher, rising
from tests.flow import KEYS, Flow
from tests.murmur2 import partition_of
from tests.product import Partition

PARTITIONS = 3
FLOW = Flow(6_000, 5, 4)


def message(offset: int, partition: int, counted: Partition, epoch: int = 1) -> Any:
    value = told.encode(Claim(epoch, f"writer-{epoch}"), counted.shard.evaluate(), 0)
    return SimpleNamespace(offset=offset, key=str(partition).encode(), value=value)


def told_on_the_way() -> list[Any]:
    """What three partitions tell after random batches of the flow."""
    rng = random.Random(1)
    counted = [Partition(KEYS) for _ in range(PARTITIONS)]
    waiting: list[list[Any]] = [[] for _ in range(PARTITIONS)]
    found: list[Any] = []
    for key, value in FLOW.messages():
        p = partition_of(key.decode(), PARTITIONS)
        waiting[p].append(json.loads(value))
        if rng.random() < 0.02:
            counted[p].apply(waiting[p])
            waiting[p] = []
            found.append(message(len(found), p, counted[p]))
    return found


def test_the_audit_accepts_every_prefix() -> None:
    messages = told_on_the_way()
    audit = Audit(FLOW, PARTITIONS)
    assert audit.check(messages) == []
    assert audit.checked == len(messages) > 50


def test_the_audit_finds_one_event_counted_twice() -> None:
    flow_messages = [json.loads(value) for _, value in FLOW.messages()]
    events = [e for e in flow_messages if partition_of(e["visitor_id"], PARTITIONS) == 0][:500]
    buys = next(e for e in reversed(events) if e["event"] == "purchase" and "event_id" not in e)
    counted = Partition(KEYS)
    counted.apply([*events, buys | {"transaction_id": "another"}])
    assert len(Audit(FLOW, PARTITIONS).check([message(0, 0, counted)])) == 1


def test_the_audit_finds_a_worker_that_goes_back_under_its_own_claim() -> None:
    messages = told_on_the_way()
    of_one = [m for m in messages if m.key == b"0"]
    early = SimpleNamespace(offset=of_one[-1].offset + 1, key=b"0", value=of_one[2].value)
    audit = Audit(FLOW, PARTITIONS)
    assert len(audit.check([*of_one, early])) == 1


def test_the_audit_passes_over_what_a_zombie_tells() -> None:
    empty = Partition(KEYS)
    audit = Audit(FLOW, PARTITIONS)
    assert audit.check([message(0, 0, empty, epoch=2), message(1, 0, empty, epoch=1)]) == []
    assert (audit.checked, audit.ignored) == (1, 1)


@pytest.mark.parametrize("messages", [1, 700, 5_000])
def test_the_truth_of_a_beginning_is_that_of_its_events(messages: int) -> None:
    sent = [json.loads(value) for _, value in FLOW.messages()][:messages]
    counted = Partition(KEYS)
    counted.apply(sent)
    truth = FLOW.after(messages).truth()["24h", "all", "all"]
    assert truth["visitors"] == len({event["visitor_id"] for event in sent})
    audit = Audit(FLOW, 1)
    assert audit.check([message(0, 0, counted)]) == []


def test_sessions_need_not_rise() -> None:
    table = FLOW.truth()
    assert {name for _, _, _, name in rising(table)} == {
        "visitors",
        "purchase.converters",
        "purchase.conversions",
        "purchase.revenue.USD",
        "sign_up.converters",
        "sign_up.conversions",
    }


def test_plans_follow_from_the_seed_and_have_every_kind() -> None:
    for plan in (short_plan, lambda rng: long_plan(rng, Wanted())):
        assert plan(random.Random(3)) == plan(random.Random(3))
        assert {kind.name for kind in plan(random.Random(3))} == {kind.name for kind in KINDS}
    sorts = [kind.sort for kind in long_plan(random.Random(4), Wanted(kills=7, zombies=3))]
    assert (sorts.count("kill"), sorts.count("zombie"), sorts.count("rebalance")) == (7, 3, 20)


def answer(visitors: int, *, complete: bool = True) -> bytes:
    row = {
        "window": "24h",
        "dimension": "all",
        "value": "all",
        "visitors": visitors,
        "sessions": 0,
        "goals": {},
    }
    return json.dumps({"complete": complete, "rows": [row]}, separators=(",", ":")).encode()


def watched(*told: tuple[str, int, int]) -> Watcher:
    """A watcher that was told: worker, process id, visitors."""
    watcher = Watcher([])
    for worker, pid, visitors in told:
        watcher._see(worker, pid, 0.0, answer(visitors))
    return watcher


def test_a_step_back_is_a_fall_and_its_end_is_seen() -> None:
    (fall,) = watched(("a", 1, 100), ("b", 2, 90), ("b", 2, 80), ("b", 2, 101)).take_falls()
    assert (fall.before, fall.lowest, fall.own, fall.seconds is not None) == (100, 80, False, True)
    (fall,) = watched(("a", 1, 100), ("a", 1, 99)).take_falls()
    assert (fall.own, fall.seconds) == (True, None)


def test_who_says_that_he_stands_still_may_be_left_behind_but_not_fall() -> None:
    watcher = watched(("a", 1, 100), ("b", 2, 120))
    watcher._see("a", 1, 0.0, answer(100, complete=False))
    assert watcher.take_falls() == []
    watcher._see("a", 1, 0.0, answer(99, complete=False))
    assert [fall.own for fall in watcher.take_falls()] == [True]


def test_nothing_after_something_is_a_dip() -> None:
    assert watched(("a", 1, 0), ("a", 1, 5), ("b", 2, 4)).dips == []
    assert len(watched(("a", 1, 5), ("b", 2, 0)).dips) == 1


def test_more_than_the_truth_is_found() -> None:
    truth = {("24h", "all", "all"): {"visitors": 5}}
    assert watched(("a", 1, 5)).above(truth) == []
    assert len(watched(("a", 1, 6)).above(truth)) == 1


def test_the_report_says_seed_result_and_every_kind(tmp_path: Path) -> None:
    run = Run(tmp_path, 4711)
    run.done = [Done(kind, "so", 1, 10.0, 100) for kind in KINDS]
    run.lives = [Lived(1, 99, 1_000, 2, 7, [5], 50, 40, 0, 3)]
    text = document(run, " --kills 7")
    assert "every number was exact after every episode" in text
    assert "`python -m tests.chaos --seed 4711 --kills 7`" in text
    assert all(f"| {kind.name} | {kind.what} | 1 | 1 |" in text for kind in KINDS)
    assert all(kind.what for kind in KINDS)
    assert "| 1 | 99 | 20 | 2,000 | 7 | 2 |" in text
    run.done[0].mismatch = "visitors is 3, not 4"
    assert "**Result: NOT exact" in document(run, "")
