"""The real shop file gives the numbers that the issue names: of the oracle, of the core, and end to end."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests import oracle, product, rees46, worker
from tests.conftest import Broker
from tests.murmur2 import partition_of
from tests.worker import Worker

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


# --- end to end ---------------------------------------------------------------------------------------


def config(broker: Broker, topic: str, group: str) -> dict[str, Any]:
    kafka = {"bootstrap_servers": broker.bootstrap, "topic": topic, "group": group, "partitions": PARTITIONS}
    return {"kafka": kafka, **rees46.KEYS}


def publish(broker: Broker, topic: str, file: Path, *more: str) -> Any:
    arguments = ("--bootstrap", broker.bootstrap, "--topic", topic, "--partitions", str(PARTITIONS))
    return worker.run("publish", str(file), *arguments, *rees46.PUBLISH_OPTIONS, *more)


def told(workers: Sequence[Worker], truth: dict[Any, Any]) -> None:
    """Every worker tells the truth, whichever holds the totals."""
    for one in workers:
        one.wait_for_rates(truth)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", [1, 3], ids=["one worker", "three workers"])
def test_published_and_counted_by_workers(
    broker: Broker,
    topic: str,
    group: str,
    tmp_path: Path,
    shared_data: Path,
    partitions: list[list[dict[str, Any]]],
    number: int,
) -> None:
    """By the command line; published twice with --event-id, the second time changes nothing."""
    file = shared_data / rees46.FILE
    truth = oracle.table(oracle.rows(rees46.KEYS, partitions))
    workers = [Worker(tmp_path, config(broker, topic, group), f"worker-{i}") for i in range(number)]
    try:
        for one in workers:
            one.start()
        for one in workers:
            one.wait_ready()
        for _ in range(2):
            done = publish(broker, topic, file, "--event-id")
            assert done.returncode == 1, done.stderr
            assert str(rees46.CUT_LINE) in done.stdout + done.stderr
            told(workers, truth)
            check_the_numbers_of_the_issue(workers[0].rates() or [])
        ends = {partition: 2 * len(events) for partition, events in enumerate(partitions)}
        worker.wait_until_committed(broker.bootstrap, group, topic, ends, 30, workers)
        told(workers, truth)
        for one in workers:
            code, seconds = one.terminate()
            assert (code, seconds < 10) == (0, True), one.log_tail()
    finally:
        for one in workers:
            one.end()


def test_published_before_the_worker_starts_and_without_ids(
    broker: Broker,
    topic: str,
    group: str,
    tmp_path: Path,
    shared_data: Path,
    partitions: list[list[dict[str, Any]]],
) -> None:
    """The five rows that stand twice carry no id and count as they are."""
    done = publish(broker, topic, shared_data / rees46.FILE)
    assert done.returncode == 1, done.stderr
    with Worker(tmp_path, config(broker, topic, group)) as one:
        one.start().wait_ready()
        told([one], oracle.table(oracle.rows(rees46.KEYS, partitions)))
        check_the_numbers_of_the_issue(one.rates() or [])


def test_the_cut_row_is_a_dead_letter_if_it_is_sent_all_the_same(
    broker: Broker, topic: str, group: str, tmp_path: Path, shared_data: Path
) -> None:
    """With --send-bad the row goes into the topic as it stands, and from there to the dead letters."""
    file = tmp_path / "last rows.csv"
    lines = (shared_data / rees46.FILE).read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], *lines[-3:]]))
    done = publish(broker, topic, file, "--send-bad")
    assert "4" in done.stdout + done.stderr
    with Worker(tmp_path, config(broker, topic, group)) as one:
        one.start().wait_ready()
        worker.wait_until(lambda: one.metric("conversion_events_rejected_total") == 1, 30, "one is rejected")
        (letter,) = worker.read_all(broker.bootstrap, f"{topic}-dead-letter", 1)
        assert lines[-1].strip() in letter.value
        two = [(window, 2) for window in rees46.KEYS["windows"]]
        worker.wait_until(
            lambda: (
                [(row.window, row.visitors) for row in one.rates() or [] if row.dimension == "all"] == two
            ),
            30,
            "the two good rows are counted",
        )
