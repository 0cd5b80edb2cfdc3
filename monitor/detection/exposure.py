"""Exposure: how many visitors could have converted in a minute, and how much of a traffic surge to believe.

Conversions follow visits by minutes, so a minute's expected conversions hang on visitors of this minute and of those
before it: a mix of the visitors themselves and of two slow averages.

The averages are kept as sums anchored at the full hour (`sum of a·n·(1−a)^−j` over the minutes j of the hour), so that
a block of minutes can be done at once and still gives, to the last bit, what one minute after the other gives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Mix of visitors now, the fast and the slow average.
MIX = (0.4, 0.5, 0.1)
#: Time constants of the two averages, in minutes.
FAST_MINUTES, SLOW_MINUTES = 8.0, 45.0
#: Exposure is at most this multiple of the minute's own visitors (and three standard deviations).
COLLAPSE = 1.03
#: While traffic collapses this share of the disagreement is taken off.
COLLAPSE_DOUBT = 0.5
#: Traffic over this multiple of its own expectation is a surge.
SURGE = 1.3
#: Up to this multiple traffic is believed in full.
BELIEVED = 1.12
#: In a surge conversions are expected as from this multiple of the usual traffic: a surge that brings no intent is
#: no drop, and a drop has to be at least about 15 % to be told from the uncertainty of the traffic expectation.
IN_SURGE = 0.88

_J = np.arange(60, dtype=np.float64)[:, None]
_DECAY = {m: np.exp(-(_J + 1) / m) for m in (FAST_MINUTES, SLOW_MINUTES)}


def average(total: Array, visitors: Array, j0: int, minutes: float) -> tuple[Array, Array]:
    """Exponential average of visitors within one hour.

    Args:
        total: Anchored sum so far, [series].
        visitors: [minutes, series].
        j0: Minute of the hour of the first row.
        minutes: Time constant.

    Returns:
        The average at each minute and the anchored sums at each minute, both [minutes, series].
    """
    decay = _DECAY[minutes][j0 : j0 + len(visitors)]
    gain = 1.0 - np.exp(-1.0 / minutes)
    sums = np.empty_like(visitors)
    np.multiply(visitors, gain / decay, out=sums)
    sums[0] += total
    if len(sums) > 1:
        np.add.accumulate(sums, axis=0, out=sums)
    return sums * decay, sums


def next_hour(total: Array, minutes: float) -> Array:
    """Anchored sum re-anchored at the next full hour."""
    out: Array = total * _DECAY[minutes][59]
    return out


def bounded(visitors: Array, usual: Array) -> Array:
    """Visitors as the slow averages see them: without most of a surge.

    Else its tail would look, after it ended, like visitors who failed to convert.
    """
    return np.asarray(np.minimum(visitors, SURGE * usual + 4.0 * np.sqrt(usual)))


def mix(now: Array, fast: Array, slow: Array) -> Array:
    """Visitors who could convert in a minute.

    When traffic collapses it depends on the delay of conversions how fast they follow; the smaller answer is taken
    (bounded by what visitors of the minute itself, with their chance variation, could bring, and less while the two
    answers are far apart), so that less traffic never looks like a fallen rate.
    """
    mixed = MIX[0] * now + MIX[1] * fast + MIX[2] * slow
    chance = 3.0 * np.sqrt(now)
    bound = now + chance
    apart = np.clip(mixed / np.maximum(bound, 1e-9) - 1.0, 0.0, 1.0)
    return np.asarray(np.minimum(mixed, COLLAPSE * now + chance) * (1.0 - COLLAPSE_DOUBT * apart))


def surge_factor(ratio: Array) -> Array:
    """Share of the exposure to believe, given traffic ÷ its seasonal expectation.

    1 up to `BELIEVED`; from `SURGE` on such that exposure is `IN_SURGE` of the usual; a straight line between.
    """
    part = np.clip((ratio - BELIEVED) / (SURGE - BELIEVED), 0.0, 1.0)
    believed = BELIEVED + part * (IN_SURGE - BELIEVED)
    out: Array = np.minimum(believed / np.maximum(ratio, 1e-9), 1.0)
    return out
