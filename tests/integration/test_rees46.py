"""The real shop file gives the numbers that the issue names: of the oracle, of the core, and end to end."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests import oracle, product, rees46
from tests.murmur2 import partition_of

PARTITIONS = 4


@pytest.fixture(scope="module")
def partitions(shared_data: Path) -> list[list[dict[str, Any]]]:
    """The events of the file as a Java client spreads them over 4 partitions."""
    spread: list[list[dict[str, Any]]] = [[] for _ in range(PARTITIONS)]
    for event in rees46.events(shared_data):
        spread[partition_of(event["visitor_id"], PARTITIONS)].append(event)
    return spread


def check_the_numbers_of_the_issue(rows: Sequence[Any]) -> None:
    table = oracle.table(rows)
    for window, (visitors, sessions, converters, conversions, converting) in rees46.EXPECTED.items():
        whole = table[window, "all", "all"]
        assert whole["visitors"] == visitors
        assert whole["sessions"] == sessions
        assert whole["purchase.converters"] == converters
        assert whole["purchase.conversions"] == conversions
        assert whole["purchase.converting_sessions"] == converting
    whole = table["24h", "all", "all"]
    assert whole["purchase.revenue.USD"] == Fraction(rees46.REVENUE_24H)
    assert f"{whole['purchase.converters'] / whole['visitors']:.4%}" == "4.2851%"


def test_the_oracle_gives_the_numbers_of_the_issue(partitions: list[list[dict[str, Any]]]) -> None:
    assert sum(map(len, partitions)) == 17_434
    check_the_numbers_of_the_issue(oracle.rows(rees46.KEYS, partitions))


@pytest.mark.parametrize("batch", [1, 100, 5_000])
def test_the_core_gives_the_numbers_of_the_issue(partitions: list[list[dict[str, Any]]], batch: int) -> None:
    rows = product.rows(rees46.KEYS, partitions, cuts=range(0, 5_000, batch))
    check_the_numbers_of_the_issue(rows)
    assert oracle.table(rows) == oracle.table(oracle.rows(rees46.KEYS, partitions))
