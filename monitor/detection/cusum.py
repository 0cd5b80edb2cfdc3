"""The bank of CUSUMs, its thresholds, and the evidence of an excursion.

Conversions with mean μ are nearly Poisson; a drop by d shows as the log likelihood ratio x·ln(1−d) + d·μ per minute.
Page's CUSUM is S = C − min C over the running sum C. Sums are anchored at the full hour, so blocks of minutes can be done
at once (`np.minimum.accumulate`) and still give, to the last bit, what one minute after the other gives.

CUSUMs only *propose* windows (their last zero is the likeliest beginning). What decides is the evidence of the window
[onset, now] with M expected conversions: S ÷ (1 + v·M), v the relative variance that rate noise and an uncertain
baseline have over a window of that length. So noise costs a short window little and can never add up to certainty.

Sources: Page 1954; Lorden 1971; scale functions: Avram, Kyprianou, Pistorius 2004.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Drops the bank looks for.
DROPS = np.array([0.13, 0.27, 0.5, 0.75, 0.97])
#: Rate of false alarms of the whole bank ÷ that of one member (members agree most of the time; from simulation).
BANK_COST = 4.0
#: Columns of the CUSUM arrays after the bank.
INTENT, RECOVERY, TRAFFIC = len(DROPS), len(DROPS) + 1, len(DROPS) + 2
#: Number of columns.
COLUMNS = len(DROPS) + 3
#: Drop that the column `INTENT` looks for, against visitors that a surge cap does not touch.
INTENT_DROP = 0.25
#: Drop of traffic that the column `TRAFFIC` looks for.
TRAFFIC_DROP = 0.5

#: ln(1−d) and the information I(d) = d + (1−d)·ln(1−d), in nats per expected conversion.
LOG_REST = np.log1p(-DROPS)
INFORMATION = DROPS + (1 - DROPS) * LOG_REST


class Paths(NamedTuple):
    """CUSUM paths over a block, for the columns given: [columns, minutes, series]."""

    total: Array
    low: Array

    @property
    def score(self) -> Array:
        """The CUSUM itself, ≥ 0."""
        return self.total - self.low


def run(total: Array, low: Array, steps: Array) -> Paths:
    """Run CUSUMs over a block.

    Args:
        total, low: Anchored running sum and its minimum before the block, [columns, series].
        steps: Log likelihood ratios, [columns, minutes, series]; overwritten.
    """
    steps[:, 0] += total
    one = steps.shape[1] == 1
    if not one:
        np.add.accumulate(steps, axis=1, out=steps)
    lows = np.minimum(steps, low[:, None])
    if not one:
        np.minimum.accumulate(lows, axis=1, out=lows)
    return Paths(steps, lows)


def thresholds(between_alarms: float, per_minute: Array) -> Array:
    """Threshold of each member of the bank, [drops, series].

    The mean time between false alarms of a Poisson CUSUM is nearly (e^h ÷ I(d) − h ÷ |d + ln(1−d)|) ÷ μ; solved for h.
    It is asked once a minute only, so at most about one independent chance a minute counts.

    Args:
        between_alarms: Wanted minutes between two false alarms of a series.
        per_minute: Expected conversions a minute, [series].
    """
    info = INFORMATION[:, None]
    fall = np.abs(DROPS + LOG_REST)[:, None]
    wanted = between_alarms * BANK_COST * per_minute / (1.0 + per_minute * info)
    h = np.log(wanted * info + 1.0)
    for _ in range(3):
        h = np.log((wanted + h / fall) * info + 1.0)
    return np.asarray(np.maximum(h, 3.0))


def evidence(score: Array, expected: Array, noise: Array) -> Array:
    """Evidence of a window in nats: its score, discounted for rate noise and an uncertain baseline."""
    out: Array = score / (1.0 + noise * expected)
    return out
