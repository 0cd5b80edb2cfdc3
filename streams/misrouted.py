"""Finds publishers that do not key by visitor, or place keys otherwise than Java and aiokafka clients do."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.counters import PipelineCounters
from monitor.placement import murmur2_partition
from streams.events import Decoded
from streams.fetched import Record
from streams.seldom import Seldom


class PlacementCheck:
    """Looks at one event of each batch."""

    def __init__(self, topic: str, counters: PipelineCounters, seldom: Seldom) -> None:
        self._topic, self._counters, self._seldom = topic, counters, seldom

    def check(
        self, records: Sequence[Record], decoded: Decoded, partitions: int | None, partition: int
    ) -> None:
        """Does an event's key say the visitor, and does murmur2 of it say this partition?

        Args:
            records: Some of a batch, as many as were decoded.
            decoded: Their events; a batch with rejected ones is passed over.
            partitions: Of the topic; None: not known yet.
            partition: The one that the batch lies on.
        """
        if decoded.rejected or not decoded.events or partitions is None:
            return
        key, visitor = records[-1].key, decoded.events[-1].visitor_id
        if key != visitor.encode():
            what = "is not the visitor_id"
        elif murmur2_partition(key, partitions) != partition:
            what = "lies on a partition that murmur2 does not give it"
        else:
            return
        self._counters.misrouted += 1
        self._seldom.warn(
            "misrouted",
            "the key of an event on %s-%d %s: one visitor may be counted on two partitions. Set "
            "partitioner=murmur2_random in librdkafka publishers and key by visitor_id, or set "
            "kafka.keyed_by_visitor: false here; `conversion-monitor doctor` tells which publisher it is",
            self._topic,
            partition,
            what,
        )
