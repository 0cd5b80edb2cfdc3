"""Events sent on by visitor: which key, where from, and which copies are repeats."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import Rejected
from streams.keyed import (
    OFFSET_HEADER,
    PARTITION_HEADER,
    origin,
    origin_headers,
    sources_of,
    visitor_key,
    without_repeats,
)


@dataclass
class Record:
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def copy(partition: int, offset: int) -> Record:
    return Record(headers=origin_headers(Record(offset=offset), partition))


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b'{"visitor_id": "v1", "event": "x"}', b"v1"),
        ('{"visitor_id": "vé"}'.encode(), "vé".encode()),
        (b'{"visitor_id": ""}', None),
        (b'{"visitor_id": "%s"}' % (b"x" * 129), None),
        (b'{"visitor_id": 5}', None),
        (b"[]", None),
        (b"\xff\xfe", None),
        (b'{"visitor_id": "v1"', None),
        (b"", None),
        (None, None),
        (b"[" * 100_000, None),
        (b'{"visitor_id": "v", "p": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    ],
)
def test_the_key_is_the_visitor_and_none_where_there_is_none(value: bytes | None, key: bytes | None) -> None:
    assert visitor_key(value) == key


def test_headers_of_the_publisher_are_kept_and_ours_cannot_be_forged() -> None:
    record = Record(offset=7, headers=[("trace", b"a"), (PARTITION_HEADER, b"99"), (OFFSET_HEADER, b"99")])
    headers = origin_headers(record, 3)
    assert headers == [("trace", b"a"), (PARTITION_HEADER, b"3"), (OFFSET_HEADER, b"7")]
    assert origin(Record(headers=headers)) == (3, 7)


@pytest.mark.parametrize(
    "headers",
    [[], [(PARTITION_HEADER, b"1")], [(PARTITION_HEADER, b"1"), (OFFSET_HEADER, b"x")], [("other", b"1")]],
)
def test_a_record_without_both_numbers_is_no_copy(headers: list[tuple[str, bytes]]) -> None:
    assert origin(Record(headers=headers)) is None
    seen: dict[int, int] = {}
    assert len(without_repeats([Record(headers=headers)] * 2, seen)) == 2
    assert seen == {}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32), st.integers(1, 4))
def test_copies_that_are_sent_again_after_crashes_count_once(seed: int, sources: int) -> None:
    """Each source is sent on in order; a crash begins again further back. The batches are cut anywhere."""
    rng = random.Random(seed)
    logs = []
    for source in range(sources):
        at, sent = 0, []
        while at < 15:
            sent.append(copy(source, at))
            at = at + 1 if rng.random() < 0.8 else rng.randrange(at + 1)
        logs.append(sent)
    arrived = []
    while any(logs):
        arrived.append(rng.choice([log for log in logs if log]).pop(0))
    seen: dict[int, int] = {}
    kept = []
    while arrived:
        cut = rng.randrange(1, len(arrived) + 1)
        kept += without_repeats(arrived[:cut], seen)
        arrived = arrived[cut:]
    places = [origin(record) for record in kept]
    assert len(places) == len(set(places))
    assert sorted(places) == [(source, offset) for source in range(sources) for offset in range(15)]
    assert seen == dict.fromkeys(range(sources), 14)


def test_sources_are_those_of_the_events_that_were_not_rejected() -> None:
    records = [copy(2, 0), Record(), copy(5, 1), copy(2, 1)]
    assert sources_of(records, []) == [2, 0, 5, 2]
    bad = [Rejected(2, "bad_json", "no")]
    assert sources_of(records, bad) == [2, 0, 2]
