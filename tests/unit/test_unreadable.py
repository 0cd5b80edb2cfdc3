"""A record that the client library cannot read: the worker ends with an error, and saves nothing half counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from monitor.shard import Shard
from streams.demo import CONFIG
from streams.fetched import Batch
from streams.pipeline import Pipeline
from streams.settings import parse_settings
from streams.shards import OwnedShard

#: A header's name, and what makes it no UTF-8.
NAME, SPOILT = b"hXXd", b"h\xe4\x20d"


def fetched(records: int) -> list[Any]:
    """A record batch of events that are none; the last record's header cannot be read."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for i in range(records):
        headers = [(NAME.decode(), b"")] if i == records - 1 else []
        builder.append(i, 1_000 + i, b"k", b"{}", headers)
    return [iter(MemoryRecords(bytes(builder.build()).replace(NAME, SPOILT)).next_batch())]  # type: ignore[arg-type]


async def test_a_record_that_cannot_be_read_ends_the_worker() -> None:
    pipeline = Pipeline(parse_settings(CONFIG, {}, source="the demo's config"))
    failures: list[Exception] = []

    async def fail(error: Exception) -> None:
        failures.append(error)

    pipeline.app = SimpleNamespace(fail=fail)
    owned = OwnedShard(0, Shard(pipeline.rules), SimpleNamespace(), SimpleNamespace(), 0)  # type: ignore[arg-type]
    pipeline.shards.owned[0] = owned
    with pytest.raises(UnicodeDecodeError):
        await pipeline.count(Batch("clickstream", 0, fetched(500), 0, 500, 500))
    assert [type(error) for error in failures] == [UnicodeDecodeError]
    assert owned.fenced, "what may be half counted is not saved"
    assert (owned.next_offset, owned.unacknowledged, pipeline.counters.events) == (0, [], 0)
    await pipeline.shards.checkpoint(owned)
    assert owned.saved_offset == 0
