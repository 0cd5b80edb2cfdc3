"""The parts of the chaos run that decide whether something is wrong."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace
from typing import Any

import pytest

from streams import told
from streams.ledger import Claim
from tests.chaos.audit import Audit
from tests.chaos.plan import KINDS, Wanted, long_plan, short_plan
from tests.chaos.watcher import rising
from tests.flow import KEYS, Flow
from tests.murmur2 import partition_of
from tests.product import Partition

PARTITIONS = 3
FLOW = Flow(6_000, 5, 4)


def message(offset: int, partition: int, counted: Partition, epoch: int = 1) -> Any:
    value = told.encode(Claim(epoch, f"writer-{epoch}"), counted.shard.evaluate())
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
