"""The limit: least worst-case mean delay of a detector of Poisson rate drops at a given false-alarm rate, numerically.

A Poisson CUSUM that knows baseline and drop, in continuous time: with W the scale function of the log likelihood ratio
process d·t − a·N_t, a = −ln(1−d), the mean time between false alarms is (1/μ)∫₀ʰ W and the delay (1/μ)∫₀ʰ e^(−y) W(y) dy.
W solves d·W'(y) = W(y) − W(y − a), W(0) = 1/d; integrated here step by step.
"""

from __future__ import annotations

import functools

import numpy as np

MONTH = 43_200.0


@functools.cache
def _tables(drop: float, top: float = 26.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grid y, ∫W and ∫e^−y W."""
    if drop >= 1.0:
        y = np.arange(0, top, 0.001)
        return y, np.expm1(y), y
    a = -np.log1p(-drop)
    k = max(100, int(a / 0.004))
    step = a / k
    n = int(top / step) + 2
    w = np.empty(n)
    w[0] = 1 / drop
    grow, part = np.exp(step / drop), drop / step
    for i in range(n - 1):
        old0 = w[i - k] if i >= k else 0.0
        old1 = w[i + 1 - k] if i + 1 >= k else 0.0
        if i + 1 == k:
            old1 = 0.0
        slope = old1 - old0
        mean = old0 + slope * part
        w[i + 1] = mean + slope + (w[i] - mean) * grow
    y = np.arange(n) * step
    if not np.all(np.isfinite(w)):
        raise FloatingPointError(drop)

    def integral(f: np.ndarray) -> np.ndarray:
        return np.concatenate([[0], np.cumsum((f[1:] + f[:-1]) / 2) * step])

    return y, integral(w), integral(w * np.exp(-y))


def limit_minutes(level: float, drop: float, between_alarms: float = MONTH) -> float:
    """Least worst-case mean delay in minutes.

    Args:
        level: Expected conversions a minute.
        drop: Share of the rate that is lost, 0..1.
        between_alarms: Mean minutes between false alarms.
    """
    _, arl, delay = _tables(drop)
    return float(np.interp(between_alarms * level, arl, delay)) / level
