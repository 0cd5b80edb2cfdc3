"""Cost of the detectors: microseconds per series and minute, and bytes of state per series, at 10,000 series."""

from __future__ import annotations

import time

import numpy as np

from monitor.detection.config import DetectionConfig, SeriesKey
from monitor.detection.detector import Detector
from monitor.detection.state import SeriesState


def run(series: int = 10_000, minutes: int = 180, history: int = 48 * 60) -> dict[str, float]:
    """Feed live minutes, one at a time, after a history of two days taken in blocks.

    Returns:
        `us_per_series_minute`: mean over `minutes` live minutes, ends of hours included (CPU time, one core);
        `bytes_per_series`: stored state; `us_per_series_minute_block`: the same when whole hours are fed at once.
    """
    rng = np.random.default_rng(7)
    level = rng.lognormal(np.log(60.0), 1.0, series)
    rate = rng.uniform(0.01, 0.05, series)
    detector = Detector(
        DetectionConfig(false_alarms_per_month=10.0),
        [SeriesKey("purchase", "all", "all", f"s{i}") for i in range(series)],
    )
    first = 28_000_000 // 60 * 60
    spent = 0.0
    for hour in range(history // 60):
        n = rng.poisson(level, (60, series)).astype(float)
        x = rng.binomial(n.astype(np.int64), rate).astype(float)
        begin = time.process_time()
        detector.run(first + 60 * hour, n, x)
        spent = time.process_time() - begin
    block = spent / 60 / series
    feed = []
    for _ in range(minutes):
        n = rng.poisson(level).astype(float)
        feed.append((n, rng.binomial(n.astype(np.int64), rate).astype(float)))
    begin = time.process_time()
    for i, (n, x) in enumerate(feed):
        detector.step(first + history + i, n, x)
    live = (time.process_time() - begin) / minutes / series
    return {
        "us_per_series_minute": 1e6 * live,
        "us_per_series_minute_block": 1e6 * block,
        "bytes_per_series": float(SeriesState.BYTES_PER_SERIES),
    }


if __name__ == "__main__":
    print(run())
