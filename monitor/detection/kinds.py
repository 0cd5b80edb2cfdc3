"""Which kind of trouble it is, and how sure."""

from __future__ import annotations

import math
from typing import Literal

Kind = Literal["rate_drop", "tracking_outage", "traffic_drop", "low_intent_traffic", "stale"]

#: Share of the expected conversions under which a series counts as dead.
DEAD = 0.1
#: A value needs so many expected conversions before its silence says anything.
TELLING = 3.0
#: Probability that an alert is real: logistic in the evidence above the threshold (nats), fitted on simulated months
#: with one drop a series and month (offset, slope).
CALIBRATION = (0.4, 1.1)


def is_dead(x: float, m: float) -> bool:
    """Whether conversions stopped: x seen of m expected."""
    return m >= TELLING and (x + 0.3) <= DEAD * (m + 1.0)


def probability(excess: float) -> float:
    """Probability that the rate fell, given the evidence above the threshold in nats."""
    a, b = CALIBRATION
    return 1.0 / (1.0 + math.exp(-min(max(a + b * excess, -30.0), 30.0)))


def at_least_drop(x: float, m: float, noise: float) -> float | None:
    """Largest round drop that is exceeded with nine in ten chances, given that the rate fell; None under 5 %."""
    if m <= 0:
        return None
    sd = math.sqrt((max(x, 0.0) + 1.0) / m**2 + noise)
    upper = (x + 0.5) / m + 1.28 * sd
    return max(
        (d for d in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9) if upper <= 1 - d), default=None
    )
