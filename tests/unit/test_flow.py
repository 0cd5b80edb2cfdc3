"""The quick truth of `tests.flow` is the slow oracle's, and the core's at the size that is used."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests import oracle, product
from tests.flow import KEYS, Flow
from tests.murmur2 import partition_of


@pytest.mark.parametrize(("n", "seed"), [(1, 0), (300, 1), (20_000, 2)])
def test_the_truth_is_the_oracles(n: int, seed: int) -> None:
    flow = Flow(n, seed)
    events = [json.loads(value) for _, value in flow.messages()]
    assert len(events) == len(flow.sent) >= n
    judged = oracle.admit(oracle.Config.of(KEYS), events)
    assert (len(judged.counted), judged.duplicates, judged.late) == (n, len(events) - n, 0)
    partitions: list[list[dict[str, object]]] = [[], []]
    for event in events:
        partitions[partition_of(event["visitor_id"], 2)].append(event)
    assert flow.truth() == oracle.table(oracle.rows(KEYS, partitions))


def test_a_flow_is_lifelike() -> None:
    flow = Flow(100_000, 3)
    times = Counter(flow.visitor.tolist())
    assert 4_000 < len(times) < 6_000
    assert 15 < sum(times.values()) / len(times) < 25
    whole = flow.truth()["24h", "all", "all"]
    assert 1.05 < whole["sessions"] / whole["visitors"] < 5
    assert 0 < whole["purchase.converters"] < whole["visitors"]


@pytest.mark.slow
def test_the_core_gives_the_truth_of_a_long_flow() -> None:
    flow = Flow(200_000, 4)
    events = [json.loads(value) for _, value in flow.messages()]
    rows = product.rows(KEYS, [events], cuts=range(0, len(events), 3_000))
    assert oracle.table(rows) == flow.truth()
