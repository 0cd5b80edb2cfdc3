"""A worker's own counters in plain Python: written in bulk by the pipeline, read by the metrics collector.

Nothing here is locked: write and read from the worker's event loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Why an event is rejected: label `reason`, header `reason` of the dead letter. All exist as 0 at the start.
REJECTION_REASONS = (
    "not_json",
    "not_an_object",
    "missing_field",
    "bad_field",
    "bad_timestamp",
    "in_future",
    "too_large",
    "empty",
)

#: What may be forgotten before its time, label `limit`: the key of the config that bounds it.
LIMITS = ("visitors", "event_ids")

#: Upper bounds (seconds) for event time to counted: fresh is below a second, allowed lateness about 30 s.
DELAY_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)

#: Upper bounds (seconds) for one checkpoint: expected well below its interval of 5 s.
CHECKPOINT_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Histogram:
    """Observations in seconds, counted by bucket; an array at a time."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.sum = 0.0
        self._bounds = np.asarray(bounds, dtype=np.float64)
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)

    def observe(self, seconds: ArrayLike) -> None:
        """Count one or many observations; one below 0 (a clock ahead of ours) counts as 0."""
        values = np.maximum(np.atleast_1d(np.asarray(seconds, dtype=np.float64)), 0.0)
        buckets = np.searchsorted(self._bounds, values, side="left")
        self._counts += np.bincount(buckets, minlength=len(self._counts))
        self.sum += float(values.sum())

    @property
    def count(self) -> int:
        """How many observations there were."""
        return int(self._counts.sum())

    def cumulative(self) -> list[int]:
        """Observations at or below each bound, and all of them last (the bucket `+Inf`)."""
        totals: NDArray[np.int64] = np.cumsum(self._counts)
        return [int(total) for total in totals]


def _no_rejections() -> dict[str, int]:
    return dict.fromkeys(REJECTION_REASONS, 0)


@dataclass(slots=True)
class PipelineCounters:
    """What one worker did since it started, and where its partitions stand.

    Attributes:
        build: Labels of `conversion_build_info`: version and whatever identifies the build.
        events: Events taken from the topic, good or bad.
        rejected: Events rejected, by reason.
        duplicates: Events dropped as repeats.
        late: Events that came after the allowed lateness and count in no window.
        misrouted: Events found on a partition that is not the one of their key.
        lost: Events that retention deleted before they were read.
        forgotten: By limit: visitors and sessions, or ids, that were forgotten early to stay within it.
        delays: Seconds from event time to counted.
        checkpoints: Seconds one checkpoint took.
        last_checkpoint: Wall clock (epoch seconds) of the last checkpoint; None before the first.
        watermark: Partition to its watermark (epoch seconds of event time).
        committed_offset: Partition to the offset committed last.
        consumer_lag: Partition to records not read yet.
    """

    build: Mapping[str, str] = field(default_factory=dict)
    events: int = 0
    rejected: dict[str, int] = field(default_factory=_no_rejections)
    duplicates: int = 0
    late: int = 0
    misrouted: int = 0
    lost: int = 0
    forgotten: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LIMITS, 0))
    delays: Histogram = field(default_factory=lambda: Histogram(DELAY_BOUNDS))
    checkpoints: Histogram = field(default_factory=lambda: Histogram(CHECKPOINT_BOUNDS))
    last_checkpoint: float | None = None
    watermark: dict[int, float] = field(default_factory=dict)
    committed_offset: dict[int, int] = field(default_factory=dict)
    consumer_lag: dict[int, int] = field(default_factory=dict)

    def count_rejected(self, reason: str, events: int = 1) -> None:
        """Count rejected events of one reason."""
        self.rejected[reason] = self.rejected.get(reason, 0) + events

    def count_delays(self, seconds: ArrayLike) -> None:
        """Count how long (seconds) each event of a batch took from event time to counted."""
        self.delays.observe(seconds)

    def checkpoint_done(self, seconds: float, at: float) -> None:
        """Count a finished checkpoint that took that long and ended at that wall clock (epoch seconds)."""
        self.checkpoints.observe(seconds)
        self.last_checkpoint = at

    def forget_partitions(self, partitions: Iterable[int]) -> None:
        """Drop the gauges of partitions that went to another worker; totals stay."""
        for partition in partitions:
            self.watermark.pop(partition, None)
            self.committed_offset.pop(partition, None)
            self.consumer_lag.pop(partition, None)
