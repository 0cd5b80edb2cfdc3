"""Events that were sent on, keyed by visitor: where a copy comes from, and which copies are repeats."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streams.events import Rejected
from streams.fetched import Record

#: Headers of a copy: partition and offset of the original.
PARTITION_HEADER = "source-partition"
OFFSET_HEADER = "source-offset"


class _Visitor(msgspec.Struct, gc=False):
    visitor_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


_decode = msgspec.json.Decoder(_Visitor).decode


def visitor_key(value: bytes | None) -> bytes | None:
    """Key of an event, or None if it has no visitor id (or is no event at all)."""
    try:
        return _decode(value or b"").visitor_id.encode()
    except (ValueError, RecursionError):
        return None


def origin_headers(record: Record, partition: int) -> list[tuple[str, bytes]]:
    """The publisher's headers and where the original is."""
    mine = [(PARTITION_HEADER, str(partition).encode()), (OFFSET_HEADER, str(record.offset).encode())]
    return [*((k, v) for k, v in record.headers if k not in (PARTITION_HEADER, OFFSET_HEADER)), *mine]


def origin(record: Record) -> tuple[int, int] | None:
    """Partition and offset of the original; None if the record is no copy."""
    found = {name: value for name, value in record.headers if name in (PARTITION_HEADER, OFFSET_HEADER)}
    try:
        return int(found[PARTITION_HEADER]), int(found[OFFSET_HEADER])
    except (KeyError, ValueError):
        return None


def without_repeats(records: list[Record], seen: dict[int, int]) -> list[Record]:
    """The records whose original was not seen yet; `seen` (partition → offset) is moved along.

    Originals of one partition are sent on in order, so whatever is not beyond the furthest seen is a repeat.
    """
    kept = []
    for record in records:
        place = origin(record)
        if place is not None:
            partition, offset = place
            if offset <= seen.get(partition, -1):
                continue
            seen[partition] = offset
        kept.append(record)
    return kept


def sources_of(records: list[Record], rejected: list[Rejected]) -> list[int]:
    """Partition of the original of each record that was not rejected; 0 for one that is no copy."""
    bad = {r.position for r in rejected}
    places = (origin(record) for i, record in enumerate(records) if i not in bad)
    return [0 if place is None else place[0] for place in places]
