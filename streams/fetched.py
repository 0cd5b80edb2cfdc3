"""What a fetch brought: the records of one partition, handed out a few hundred at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

#: Records after which `Batch.parts` ends a part; record batches are not cut, so it may have more.
PART = 400


class Record(Protocol):
    """One record as aiokafka's compiled reader gives it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class RecordBatch(Protocol):
    """Some records as they were published together, as aiokafka's compiled reader gives them; can be read once."""

    def __iter__(self) -> Iterator[Record]: ...


class Batch:
    """All records that one fetch brought for one partition.

    Attributes:
        topic: Their topic.
        partition: Their partition.
        stored: The records in order of their offsets, as they are stored; there may be some before `start`.
        start: Offset at which the fetch began.
        end: Offset at which the next one begins; offsets in between may have no record (compaction, transactions).
        highwater: End of the partition as the broker told with the fetch; None if it did not.
    """

    __slots__ = ("end", "highwater", "partition", "start", "stored", "topic")

    def __init__(
        self,
        topic: str,
        partition: int,
        stored: list[RecordBatch],
        start: int,
        end: int,
        highwater: int | None,
    ) -> None:
        self.topic, self.partition = topic, partition
        self.stored, self.start, self.end, self.highwater = stored, start, end, highwater

    def parts(self, offset: int) -> Iterator[list[Record]]:
        """The records from an offset on, a few hundred at a time; can be called once.

        So that what is read of them is still in the processor's cache when it is decoded and counted.
        """
        part: list[Record] = []
        unread, self.stored = self.stored, []
        for stored in unread:
            part += stored
            if len(part) >= PART:
                yield [r for r in part if r.offset >= offset] if part[0].offset < offset else part
                part = []
        if part := [r for r in part if r.offset >= offset]:
            yield part
