"""Settings of the detectors, and the names of series.

Everything a person may change is here, with its unit; constants of the method live beside the formula that uses them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Minutes of a month, the unit of the false-alarm budget (30 days).
MONTH_MINUTES = 43_200


@dataclass(frozen=True, order=True)
class SeriesKey:
    """Name of one series: conversions of a goal among the visitors of one segment.

    Attributes:
        goal: Name of the goal.
        dimension: Dimension of the segment; `all` is the whole.
        value: Value of the dimension; `all` is the whole.
        group: Series of one group watch the same thing (a site): the values of a dimension add up to its whole, and
            a cause seen in several of them is one alert.
    """

    goal: str
    dimension: str = "all"
    value: str = "all"
    group: str = ""

    @property
    def is_whole(self) -> bool:
        """True if the series is the whole, not a segment."""
        return self.dimension == "all"


@dataclass(frozen=True)
class Span:
    """A span of event time, optionally of some series only; used for quiet spans, mutes and the calendar.

    Attributes:
        start: First second, epoch seconds.
        end: Second after the last; `float("inf")` if it is open.
        goal: Only this goal; None is every goal.
        dimension: Only this dimension; None is every dimension.
        value: Only this value; None is every value.
        factor: Calendar only: expected rate is multiplied by it within the span (1 = as always).
        learn: Whether the baseline may learn from the span.
    """

    start: float
    end: float
    goal: str | None = None
    dimension: str | None = None
    value: str | None = None
    factor: float = 1.0
    learn: bool = False

    def covers(self, minute: int) -> bool:
        """Whether the minute (epoch minutes) begins within the span."""
        return self.start <= minute * 60 < self.end

    def matches(self, key: SeriesKey) -> bool:
        """Whether the span speaks about this series."""
        wanted = (self.goal, self.dimension, self.value)
        return all(
            w is None or w == h for w, h in zip(wanted, (key.goal, key.dimension, key.value), strict=True)
        )


@dataclass(frozen=True)
class DetectionConfig:
    """How eager the detectors are, and when they hold still.

    Attributes:
        false_alarms_per_month: Wanted at most, over all series together; None: use the figure per series.
        false_alarms_per_series_month: Wanted at most of one series, used if there is no figure for the fleet.
        min_conversions_lost: An alert needs at least so many lost conversions.
        expected_rate: Goal name → conversion rate to start from, before anything is learned.
        expected_rate_sd: How sure that rate is: standard deviation of its logarithm.
        adopt_after_minutes: After so long at a new level the level becomes normal and the alert ends.
        stale_after_minutes: So long without any data is `stale`.
        reopen_minutes: A drop that returns within so long of the end is the same alert, flapping.
        producer_dimensions: Dimensions whose values send events; one value dead there is broken tracking.
        quiet: Spans without alerts and without learning.
        calendar: Spans with another expected rate (`factor`) or that should not be learned.
        mute: Spans in which alerts of matching series are not published.
        utc_offset_minutes: Local time of the sentence and of the seasons.
    """

    false_alarms_per_month: float | None = None
    false_alarms_per_series_month: float = 0.5
    min_conversions_lost: float = 3.0
    expected_rate: dict[str, float] = field(default_factory=dict)
    expected_rate_sd: float = 0.25
    adopt_after_minutes: int = 4 * 1440
    stale_after_minutes: int = 5
    reopen_minutes: int = 120
    producer_dimensions: tuple[str, ...] = ("producer", "sdk", "sdk_version", "app_version")
    quiet: tuple[Span, ...] = ()
    calendar: tuple[Span, ...] = ()
    mute: tuple[Span, ...] = ()
    utc_offset_minutes: int = 0

    def minutes_between_alarms(self, n_series: int) -> float:
        """Wanted mean time between false alarms of one series, in minutes."""
        if self.false_alarms_per_month is None:
            return MONTH_MINUTES / self.false_alarms_per_series_month
        return MONTH_MINUTES * max(n_series, 1) / self.false_alarms_per_month
