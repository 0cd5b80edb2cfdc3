"""Looks at brokers, topics, keys, lag and clocks; what it sees is judged in `streams/diagnosis.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from monitor.placement import Sample, judge
from monitor.rules import Rules
from monitor.windows import Window
from streams.connection import try_broker
from streams.diagnosis import (
    Arrival,
    Finding,
    judge_broker,
    judge_clock,
    judge_contract,
    judge_keys,
    judge_lag,
    judge_source,
)
from streams.errors import BrokerError, TopicError
from streams.events import Decoder, Event
from streams.offsets import beginning_offsets, committed_offsets, end_offsets
from streams.sampling import read_span
from streams.topics import TopicAdmin
from streams.topology import Topology, check_compaction, check_shapes

#: Latest messages of each partition that are looked at.
SAMPLE = 200


@dataclass(frozen=True)
class Subject:
    """What is looked at.

    Attributes:
        bootstrap: `host:port`, several with commas.
        topology: Names of topics and group.
        rules: Those of the config: dimensions and how far ahead an event may be.
        partitions: `kafka.partitions` of the config; None = no config, only the event topic is looked at.
        create_topics: Whether a worker would create what is missing.
        client_kwargs: Further arguments of the aiokafka client.
    """

    bootstrap: str
    topology: Topology
    rules: Rules = field(default_factory=lambda: Rules((Window.parse("1m"),), ()))
    partitions: int | None = None
    create_topics: bool = True
    client_kwargs: dict[str, Any] = field(default_factory=dict, repr=False)


async def examine(subject: Subject, now_s: float) -> list[Finding]:
    """All findings; stops at the first thing without which the next cannot be looked at."""
    unreachable = await try_broker(subject.bootstrap, **subject.client_kwargs)
    if unreachable is not None:
        detail = f"no Kafka at {subject.bootstrap}: {unreachable}"
        return [Finding("broker", "wrong", detail, "is it running, and is the address right?")]
    findings: list[Finding] = []
    try:
        async with TopicAdmin(subject.bootstrap, subject.client_kwargs) as admin:
            findings.append(judge_broker(subject.bootstrap, await admin.cluster_id()))
            found = await admin.partitions()
            findings += await _look_at_topics(subject, admin, found)
        if subject.topology.consumed in found:
            findings += await _look_at_messages(subject, found[subject.topology.consumed], now_s)
    except (BrokerError, KafkaError) as error:
        findings.append(Finding("broker", "wrong", f"{subject.bootstrap} answered no further: {error}"))
    return findings


async def _look_at_topics(subject: Subject, admin: TopicAdmin, found: Mapping[str, int]) -> list[Finding]:
    topology = subject.topology
    if subject.partitions is None:
        return [judge_source(topology.topic, found, may_create=False)]
    try:
        specs = check_shapes(subject.bootstrap, topology, subject.partitions, found)
        await check_compaction(admin, [s for s in specs if s.name in found])
    except TopicError as error:
        return [Finding("topics", "wrong", error.message, error.remedy)]
    missing = [s.name for s in specs if s.name not in found and s.name != topology.topic]
    findings = [judge_source(topology.topic, found, may_create=subject.create_topics)]
    if missing:
        names = ", ".join(missing)
        if subject.create_topics:
            findings.append(
                Finding("topics", "note", f"not there yet: {names}", "the first worker creates them")
            )
        else:
            remedy = "create them, `run` prints the commands; or set kafka.create_topics: true"
            findings.append(Finding("topics", "wrong", f"missing: {names}", remedy))
    else:
        findings.append(Finding("topics", "ok", f"all {len(specs)} topics are there and fit together"))
    return findings


async def _look_at_messages(subject: Subject, partitions: int, now_s: float) -> list[Finding]:
    topic, kwargs = subject.topology.consumed, subject.client_kwargs
    all_of_it = [TopicPartition(topic, p) for p in range(partitions)]
    first = await beginning_offsets(subject.bootstrap, all_of_it, **kwargs)
    end = await end_offsets(subject.bootstrap, all_of_it, **kwargs)
    spans = {tp: (max(first[tp], end[tp] - SAMPLE), end[tp]) for tp in all_of_it}
    records = await read_span(subject.bootstrap, spans, **kwargs)
    events, reasons = _decode(records, subject.rules, now_s)
    samples = [Sample(record.partition, record.key, event.visitor_id) for record, event in events]
    arrivals = [Arrival(event.timestamp / 1000, record.timestamp / 1000) for record, event in events]  # type: ignore[operator]
    findings = [
        judge_keys(judge(samples, partitions), partitions),
        judge_contract(len(records), reasons),
        judge_clock(arrivals, now_s, subject.rules.max_in_future_ms / 1000),
    ]
    committed = await committed_offsets(subject.bootstrap, subject.topology.group, all_of_it, **kwargs)
    waiting = {tp: (offset, offset + 1) for tp, offset in committed.items() if offset < end[tp]}
    oldest = await read_span(subject.bootstrap, waiting, **kwargs)
    lag = sum(end[tp] - committed.get(tp, first[tp]) for tp in all_of_it)
    age = max((now_s - record.timestamp / 1000 for record in oldest), default=0.0)
    findings.append(judge_lag(subject.topology.group, len(committed), partitions, lag, age))
    return findings


def _decode(
    records: Sequence[ConsumerRecord], rules: Rules, now_s: float
) -> tuple[list[tuple[ConsumerRecord, Event]], Counter[str]]:
    """Records with their events, and how many are rejected for each reason; those of the future are kept."""
    decoder = Decoder(rules)
    events, reasons = [], Counter[str]()
    for record in records:
        decoded = decoder.decode([record.value], int(now_s * 1000))
        if decoded.rejected and decoded.rejected[0].reason == "in_future":
            reasons["in_future"] += 1
            decoded = decoder.decode([record.value], 1 << 62)
        elif decoded.rejected:
            reasons[decoded.rejected[0].reason] += 1
        events += [(record, event) for event in decoded.events]
    return events, reasons
