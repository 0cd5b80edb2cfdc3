"""How much one partition may remember: its share of the limits of a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

#: Sessions kept for each visitor that may be kept.
SESSIONS_PER_VISITOR = 2


@dataclass(frozen=True, slots=True)
class Bounds:
    """Rows that a partition keeps at most."""

    visitors: int
    """Visitors, and newest gap sessions; of sessions `SESSIONS_PER_VISITOR` times as many."""
    ids: int
    """Event ids; and as many transactions."""

    @classmethod
    def of_partition(cls, visitors: int, event_ids: int, partitions: int) -> Self:
        """The share of one partition of a topic: the same on whichever worker it is, so a move changes no number.

        Args:
            visitors: Visitors that a worker with all partitions may keep.
            event_ids: Event ids that it may remember.
            partitions: Of the topic.
        """
        return cls(-(-visitors // partitions), -(-event_ids // partitions))
