"""What is normal: expected conversion rate and expected traffic of each series, by time of day and week.

The logarithm of the rate is a sum of smooth waves: a level that may wander, three waves of the day, a weekend step with
its own wave, and a wave of the week. A Kalman filter with full covariance learns it from hourly blocks (conversions X,
expected conversions M): innovation X/M − 1 with variance 1/M (Poisson) plus what the series' own noise adds. Innovations
are clipped, the noise and the speed of the level are learned.

The waves make the filter quick: after three hours it already knows the next one, and how well it knows it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Number of terms of the log rate.
TERMS = 12
#: How far each term may be from 0 before anything is seen (standard deviation of the log): level, day waves 1-3,
#: weekend step, weekend wave, week wave.
PRIOR_SD = np.array([1.0, 0.12, 0.12, 0.06, 0.06, 0.03, 0.03, 0.08, 0.05, 0.05, 0.03, 0.03])
#: How fast the seasonal terms may change (standard deviation of the log per hour).
SEASON_SD = 0.0004
#: What the waves leave over is kept by hour of the day: its variance, and the share of an innovation it takes at most.
REST_VAR, REST_GAIN = 6e-4, 0.25
#: Bounds of the variance by which the level may wander in an hour, and where it starts.
WANDER_MIN, WANDER_MAX, WANDER_START = 2e-6, 1e-4, 6e-6
#: Speed at which the wander is learned from the correlation of successive innovations.
WANDER_RATE = 0.03
#: Relative variance of an hour beyond Poisson, before it is learned, and the hours that belief is worth.
HOUR_NOISE_START, HOUR_NOISE_WORTH = 4e-4, 48.0
#: Innovations are clipped at so many standard deviations.
CLIP = 2.5
#: Correlation time of the slow part of the rate noise, minutes (assumed; its variance is learned).
CORRELATION = 20.0

_TRI = np.tril_indices(TERMS)
_FULL = np.zeros((TERMS, TERMS), np.int64)
_FULL[_TRI] = np.arange(len(_TRI[0]))
_FULL.T[_TRI] = np.arange(len(_TRI[0]))
_DIAGONAL = np.array([_FULL[i, i] for i in range(TERMS)])
#: Number of stored covariances.
PACKED = len(_TRI[0])
PRIOR_PACKED = np.zeros(PACKED)
PRIOR_PACKED[_DIAGONAL] = PRIOR_SD**2


def basis(minute: float, utc_offset: int = 0) -> Array:
    """The terms of the log rate at a time, [TERMS].

    Args:
        minute: Epoch minutes.
        utc_offset: Minutes that local time is ahead of UTC.
    """
    local = minute + utc_offset
    day = 2 * np.pi * (local % 1440) / 1440
    week_minute = (local + 3 * 1440) % 10080
    week = 2 * np.pi * week_minute / 10080
    end = (
        float(np.clip((week_minute - 7140) / 120, 0, 1))
        if week_minute > 60
        else 1.0 - float(week_minute / 60)
    )
    return np.array(
        [
            1.0,
            np.cos(day), np.sin(day), np.cos(2 * day), np.sin(2 * day), np.cos(3 * day), np.sin(3 * day),
            end, end * np.cos(day), end * np.sin(day),
            np.cos(week), np.sin(week),
        ]
    )  # fmt: skip


def unpack(packed: NDArray[np.float32]) -> Array:
    """[series, PACKED] → [series, TERMS, TERMS]."""
    return packed.astype(np.float64)[:, _FULL]


def pack(full: Array) -> NDArray[np.float32]:
    """[series, TERMS, TERMS] → [series, PACKED]."""
    return full[:, _TRI[0], _TRI[1]].astype(np.float32)


def learn(
    mean: Array, packed: NDArray[np.float32], x: Array, m: Array, at: Array, noise: Array
) -> tuple[Array, NDArray[np.float32], Array, Array]:
    """One step of the filter with a block of minutes.

    Args:
        mean: Terms, [series, TERMS].
        packed: Covariance, [series, PACKED].
        x: Conversions of the block, [series].
        m: Conversions that `mean` expects for it, [series], > 0.
        at: Terms at the middle of the block, [TERMS] or [series, TERMS].
        noise: Relative variance beyond Poisson, [series].

    Returns:
        New mean, new covariance, innovation and its variance.
    """
    p = unpack(packed)
    h = np.broadcast_to(at, mean.shape)
    ph = np.einsum("sij,sj->si", p, h)
    var = np.einsum("si,si->s", ph, h) + 1.0 / m + noise
    sd = np.sqrt(var)
    raw = x / m - 1.0
    inn = np.clip(raw, -CLIP * sd, CLIP * sd)
    gain = ph / var[:, None]
    new_mean = mean + gain * inn[:, None]
    new_p = p - gain[:, :, None] * ph[:, None, :]
    return new_mean, pack(new_p), inn, var


def wander(packed: NDArray[np.float32], level_var: Array) -> None:
    """Let an hour pass: the level by `level_var`, the seasonal terms a little; nothing beyond its prior. In place."""
    packed[:, _DIAGONAL[0]] += level_var.astype(np.float32)
    packed[:, _DIAGONAL[1:]] += np.float32(SEASON_SD**2)


def variance(packed: NDArray[np.float32], at: Array) -> Array:
    """Variance of the log rate at a time, [series]."""
    weights = np.outer(at, at)[_TRI] * np.where(_TRI[0] == _TRI[1], 1.0, 2.0)
    out: Array = np.maximum(packed.astype(np.float64) @ weights, 0.0)
    return out


def window_noise(minutes: Array, white: Array, slow: Array, hour: Array, base: Array) -> Array:
    """Relative variance, beyond Poisson, of the mean rate over a window; arrays broadcast.

    Args:
        minutes: Length of the window.
        white: Variance of the noise of single minutes.
        slow: Variance of the noise with correlation time `CORRELATION`.
        hour: Variance of hourly means (all that innovations showed).
        base: Variance of the baseline itself.
    """
    w = np.maximum(minutes, 1.0)
    u = w / CORRELATION
    rho = 2.0 / u * (1.0 - (1.0 - np.exp(-u)) / u)
    at_hour = white / 60.0 + slow * 0.4545
    rest = np.maximum(hour - at_hour, 0.0) * np.minimum(1.0, 60.0 / w) ** 0.5
    out: Array = white / w + slow * rho + rest + base
    return out


def split_noise(x: Array, m: Array) -> tuple[Array, Array, Array, Array]:
    """Sums over the minutes of one hour that tell the noise of single minutes and of tens of minutes.

    Args:
        x, m: Conversions and expected conversions, [60, series].

    Returns:
        excess and weight of minutes, excess and weight of blocks of ten minutes, [series] each: excess ÷ weight
        estimates the relative variance at that scale within an hour.
    """
    total = m.sum(0)
    scale = x.sum(0) / np.maximum(total, 1e-9)
    local = m * scale
    share = local / np.maximum(local.sum(0), 1e-9)
    q1 = ((x - local) ** 2 - local * (1 - share)).sum(0)
    w1 = (local**2 * (1 - 2 * share)).sum(0) + local.sum(0) ** 2 * (share**2).sum(0) ** 2
    xt, lt = x.reshape(6, 10, -1).sum(1), local.reshape(6, 10, -1).sum(1)
    st = lt / np.maximum(lt.sum(0), 1e-9)
    q10 = ((xt - lt) ** 2 - lt * (1 - st)).sum(0)
    w10 = (lt**2).sum(0)
    return q1, w1, q10, w10


def white_and_slow(minute: Array, ten: Array) -> tuple[Array, Array]:
    """Solve the variances of white and slow noise from those seen at one and ten minutes within an hour.

    Slow noise shows within the hour with 1 − 0.4545 of its variance at one minute, 0.8514 − 0.4545 at ten; white noise
    with 59/60 and 1/10 − 1/60.
    """
    slow = (ten - minute * 0.0833 / 0.9833) / (0.3969 - 0.5455 * 0.0833 / 0.9833)
    slow = np.clip(slow, 0.0, 0.09)
    white = np.clip((minute - 0.5455 * slow) / 0.9833, 0.0, 1.0)
    return white, slow
