"""Commits follow checkpoints, and those that a crash or the broker prevented are made up for."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaError
from faust.types import TP

from monitor.counters import PipelineCounters
from monitor.shard import Shard
from streams.ledger import Claim, Ledger, LedgerWriter
from streams.shards import OwnedShard, Shards
from tests.product import rules_of

RULES = rules_of({"goals": {"purchase": {"kind": "macro", "match": {"event": "purchase"}}}})


class Broker:
    """Takes commits; fails with the errors it is given, then says so many times that it did not, then does."""

    def __init__(self, *errors: Exception, refusals: int = 0) -> None:
        self.errors, self.refusals = list(errors), refusals
        self.commits: list[dict[TP, int]] = []

    async def commit_batches(self, offsets: Mapping[TP, int]) -> bool:
        self.commits.append(dict(offsets))
        if self.errors:
            raise self.errors.pop()
        self.refusals -= 1
        return self.refusals < 0


def restored(broker: Broker) -> tuple[Shards, OwnedShard]:
    """A partition whose state is as of offset 7, taken over a moment ago, with nothing new to count."""
    shards = Shards(RULES, b"", "clicks", "changelog", "127.0.0.1:1", {}, PipelineCounters())
    shards.app = SimpleNamespace(consumer=broker)
    ledger = Ledger("changelog", 3)
    return shards, OwnedShard(3, Shard(RULES), LedgerWriter(Claim(2, "me"), ledger.state()), ledger, 7)


async def test_what_was_saved_and_not_committed_is_committed_once() -> None:
    """A kill -9 between the two; no further event may come, and the lag would stand there for ever."""
    broker = Broker()
    shards, owned = restored(broker)
    for _ in range(3):
        await shards.checkpoint(owned)
    assert broker.commits == [{TP("clicks", 3): 7}]
    assert shards.counters.committed_offset == {3: 7}


@pytest.mark.parametrize("broker", [Broker(KafkaError("away")), Broker(refusals=1)])
async def test_a_commit_that_failed_is_tried_again(broker: Broker) -> None:
    shards, owned = restored(broker)
    await shards.checkpoint(owned)
    assert shards.counters.committed_offset == {}
    for _ in range(2):
        await shards.checkpoint(owned)
    assert broker.commits == [{TP("clicks", 3): 7}] * 2
    assert shards.counters.committed_offset == {3: 7}


async def test_whoever_has_lost_the_partition_commits_nothing() -> None:
    broker = Broker()
    shards, owned = restored(broker)
    owned.fenced = True
    await shards.checkpoint(owned)
    assert broker.commits == []
