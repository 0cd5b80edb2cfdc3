"""Keeps each partition within its share of `limits`, and tells when visitors or ids had to be forgotten for that."""

from __future__ import annotations

from monitor.bounds import Bounds
from monitor.counters import PipelineCounters
from monitor.shard import Shard
from streams.seldom import Seldom
from streams.settings import Limits


class Crowding:
    """Looks at a shard after each batch."""

    def __init__(self, limits: Limits, counters: PipelineCounters, seldom: Seldom) -> None:
        self._limits, self._counters, self._seldom = limits, counters, seldom
        self._bounds: Bounds | None = None

    def check(self, shard: Shard, partitions: int | None, partition: int) -> None:
        """Forget what is too much.

        Args:
            shard: That of the partition.
            partitions: Of the topic; None: not known yet.
            partition: For the log.
        """
        if partitions is None:
            return
        if self._bounds is None:
            self._bounds = Bounds.of_partition(self._limits.visitors, self._limits.event_ids, partitions)
        visitors, ids = shard.limit(self._bounds)
        if visitors:
            self._counters.forgotten["visitors"] += visitors
            self._seldom.warn(
                "limits.visitors",
                "partition %d has more visitors than its share (%d) of limits.visitors: the longest unseen are "
                "forgotten, and visitors, sessions and converters of the longest windows are too low. Raise "
                "limits.visitors and the memory for it, or name shorter windows",
                partition,
                self._bounds.visitors,
            )
        if ids:
            self._counters.forgotten["event_ids"] += ids
            self._seldom.warn(
                "limits.event_ids",
                "partition %d has more event or transaction ids than its share (%d) of limits.event_ids: the "
                "oldest are forgotten, and a repeat of one of these counts again. Raise limits.event_ids and the "
                "memory for it, or shorten dedupe_window",
                partition,
                self._bounds.ids,
            )
