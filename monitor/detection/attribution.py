"""Where a loss sits: rate effect and mix effect over the values of a dimension.

With X conversions and M expected conversions of each value since the onset, M given the value's own visitors, the loss
of the whole splits exactly: rate effect Σ(M_v − X_v), and mix effect M_whole − ΣM_v (visitors moved to values that buy
less). The smallest set of values that explains 90 % of the rate effect is named; a pure mix shift blames none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Share of the rate effect that the named values must explain.
EXPLAINED = 0.9
#: A value fell if it lost so many standard deviations.
FELL = 2.0
#: Nats by which "each value has its own rate" must beat "all fell alike" before values are blamed.
UNEVEN = 4.0
#: Values that together have more than this share of the expected conversions are the whole: none is blamed.
WHOLE = 0.95


class Part(NamedTuple):
    """One value of a dimension and its share of the rate effect."""

    dimension: str
    value: str
    share: float


class Split(NamedTuple):
    """Result: named values (largest first), the rate effect and the mix effect in conversions."""

    parts: tuple[Part, ...]
    rate_effect: float
    mix_effect: float


def deviance(x: Array, m: Array) -> Array:
    """Log likelihood ratio of the rate seen against the rate expected, for losses; 0 for gains."""
    x, m = np.asarray(x, float), np.maximum(m, 1e-9)
    low = np.minimum(x, m)
    out: Array = low * np.log(np.maximum(low, 1e-9) / m) + m - low
    return np.where(low <= 0, m, out)


def _beyond_chance(loss: float, variance: float) -> float:
    """How much of the loss of values that did not clearly fall to believe: nothing of what chance explains.

    The positive-part estimator of James and Stein; the raw loss would take a share from where the drop really is.
    """
    return loss * max(1.0 - variance / (loss * loss), 0.0) if loss > 0 else 0.0


def split(
    dimensions: dict[str, tuple[list[str], Array, Array]], whole: tuple[float, float] | None, noise: float
) -> Split:
    """Split a loss over the dimension that explains it best.

    Args:
        dimensions: Name → (values, X, M).
        whole: X and M of the whole; None if it is not watched.
        noise: Relative variance of the rate over the window, common to all values.
    """
    best: tuple[float, str] | None = None
    for name, (_, x, m) in dimensions.items():
        if len(x) < 2 or m.sum() <= 0:
            continue
        apart = deviance(x, m).sum() - 0.5 * len(x)
        together = deviance(x.sum(keepdims=True), m.sum(keepdims=True))[0]
        if best is None or apart - together > best[0]:
            best = (float(apart - together), name)
    if best is None:
        return Split((), 0.0 if whole is None else whole[1] - whole[0], 0.0)
    values, x, m = dimensions[best[1]]
    rate_effect = float((m - x).sum())
    mix_effect = 0.0 if whole is None else float(whole[1] - m.sum())
    if best[0] < UNEVEN:
        return Split((), rate_effect, mix_effect)
    variance = m + noise * m * m
    fell = m - x > FELL * np.sqrt(variance)
    lost = np.where(fell, m - x, 0.0)
    total = lost.sum() + _beyond_chance(rate_effect - lost.sum(), float(variance[~fell].sum()))
    if total <= 0 or lost.sum() <= 0:
        return Split((), rate_effect, mix_effect)
    parts: list[Part] = []
    explained = covered = 0.0
    for i in np.argsort(-lost, kind="stable"):
        if lost[i] <= 0 or explained >= EXPLAINED * lost.sum():
            break
        parts.append(Part(best[1], values[i], round(float(min(lost[i] / total, 1.0)), 4)))
        explained += lost[i]
        covered += m[i]
    if covered > WHOLE * m.sum():
        parts = []
    return Split(tuple(parts), rate_effect, mix_effect)
