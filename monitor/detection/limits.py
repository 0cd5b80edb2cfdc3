"""What the detectors can see at a given traffic: the smallest drop found within a time."""

from __future__ import annotations

import numpy as np

from monitor.detection import cusum

#: Relative variance of a rate over a window: noise of tens of minutes (3 %, correlated over 20 minutes), noise of single
#: minutes (5 %) and an uncertain baseline (about 2 %). What typical shops show; a series' own figures replace them.
TYPICAL_SLOW, TYPICAL_WHITE, TYPICAL_BASE = 9e-4, 2.5e-3, 4e-4


def smallest_drop(
    per_minute: float, minutes: float, between_alarms: float, *, base: float = TYPICAL_BASE, white: float = TYPICAL_WHITE,
    slow: float = TYPICAL_SLOW,
) -> float | None:  # fmt: skip
    """Smallest drop that is typically found within a time; None if not even a total loss is.

    Args:
        per_minute: Expected conversions a minute.
        minutes: Time since the drop began.
        between_alarms: Minutes between two false alarms of the series.
        base, white, slow: Relative variances, see `baseline.window_noise`.
    """
    from monitor.detection.baseline import window_noise  # noqa: PLC0415 - keeps this module light to import

    expected = per_minute * minutes
    noise = float(
        window_noise(np.array(minutes), np.array(white), np.array(slow), np.array(0.0), np.array(base))
    )
    # An uncertain baseline of a quiet series: a fortnight of conversions over a dozen terms.
    noise += 12.0 / max(per_minute * 20_160, 1.0)
    h = cusum.thresholds(between_alarms, np.array([per_minute]))[:, 0]
    for drop in np.arange(0.05, 1.0, 0.01):
        information = drop + (1 - drop) * np.log1p(-drop)
        need = float(np.interp(drop, cusum.DROPS, h))
        if expected * information / (1 + noise * expected) >= need and expected * drop >= 3:
            return round(float(drop), 2)
    need = float(h[-1])
    return 1.0 if expected / (1 + noise * expected) >= need else None
