"""Learning at the end of a block: rate baseline, its noise, and the traffic profile; and what they expect next.

A block (one hour; ten minutes while a series is new) waits before it is learned as long as a CUSUM is high, so that the
baseline does not swallow the drop it is there to show; blocks since the onset of an alert are thrown away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.detection import baseline, cusum, exposure
from monitor.detection.config import DetectionConfig
from monitor.detection.cusum import DROPS
from monitor.detection.scan import LONGEST_WINDOW, SURGE_FORGOTTEN, TRAFFIC_KNOWN_HOURS, Expectation
from monitor.detection.state import RING_HOURS, SeriesState

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Blocks are ten minutes long until a series has this many minutes of data.
YOUNG_MINUTES = 180
#: Conversions before a first rate is believed enough to go on from.
FIRST_CONVERSIONS = 8.0
#: Minutes before that: fewer may lie in one wave of the noise.
FIRST_MINUTES = 5
#: Share of the threshold from which on the evidence holds learning back, and hours it can be held.
HOLD_SHARE, HOLD_HOURS = 0.5, RING_HOURS
#: A raised level may be a promotion: judged is by a remembered level that follows a rise by at most so much of the
#: log per hour (0.4 % a day), a fall with this weight per hour, and how far above the memory a rate may be judged.
MEMORY_RISE, MEMORY_FALL, MEMORY_MARGIN = 0.004 / 24, 1 / 120, 0.04
#: Slow noise is at most this multiple of the noise of hours (of which it makes up 0.45 at the least: see baseline).
SLOW_PER_HOUR = 2.2
#: Least weight of an hour in what is known of the noise of hours.
NOISE_LEARN = 1 / 36
#: Forgetting of the sums that tell noise (per hour), and what the prior belief in them is worth (expected squares).
NOISE_KEEP, WHITE_START, NOISE_WORTH = 0.99, 0.0005, 3000.0


def expectation(st: SeriesState, hour: int, config: DetectionConfig, between: float) -> Expectation:
    """What the baselines say for an hour.

    Args:
        st: State.
        hour: Epoch hour.
        config: For the offset of local time.
        between: Wanted minutes between two false alarms of a series.
    """
    off = config.utc_offset_minutes
    edge = st.mean @ np.stack([baseline.basis(hour * 60, off), baseline.basis(hour * 60 + 60, off)]).T
    local = hour + off // 60
    rest = st.hour_rest[:, [(local - 1) % 24, local % 24, (local + 1) % 24]].astype(np.float64)
    edge += (rest[:, :2] + rest[:, 1:]) / 2.0
    level_sd = np.sqrt(np.maximum(st.covariance[:, 0], 0))
    guard = np.maximum(st.mean[:, 0] - st.slow_level - np.maximum(MEMORY_MARGIN, 2.0 * level_sd), 0.0)
    guard[(st.ready == 0) | (st.learned_hours < 24)] = 0.0
    base = baseline.variance(st.covariance, baseline.basis(hour * 60 + 30, off))
    q1, w1, q10, w10 = st.noise_sums.astype(np.float64).T
    minute = (q1 + WHITE_START * NOISE_WORTH) / (w1 + NOISE_WORTH)
    ten = (q10 + WHITE_START * NOISE_WORTH) / (w10 + 10 * NOISE_WORTH)
    white, slow = baseline.white_and_slow(np.maximum(minute, 0), np.maximum(ten, 0))
    slow = np.minimum(slow, SLOW_PER_HOUR * st.hour_noise)
    traffic = np.stack([traffic_profile(st, hour + k, off) for k in (-1, 0, 1)])
    h = cusum.thresholds(between, np.maximum(st.per_minute, 1e-4))
    return Expectation(
        edge[:, 0], (edge[:, 1] - edge[:, 0]) / 60.0, guard, base, white, slow, st.hour_noise.astype(np.float64),
        traffic, st.traffic_noise.astype(np.float64), h,
    )  # fmt: skip


def traffic_profile(st: SeriesState, hour: int, off: int) -> Array:
    """Log visitors per minute in the middle of an hour, [series]; NaN until it is known."""
    h, day, weekend = _when(hour, off)
    out = st.traffic_level + st.traffic_hour[:, h] + st.traffic_day[:, day]
    if weekend:
        out = out + st.traffic_hour[:, 24 + h]
    return np.where(st.traffic_hours >= TRAFFIC_KNOWN_HOURS, out, np.nan).astype(np.float64)


def _when(hour: int, off: int) -> tuple[int, int, bool]:
    local = hour + off // 60
    day = (local // 24 + 3) % 7
    return local % 24, day, day >= 5


def learn_traffic(st: SeriesState, hour: int, off: int) -> None:
    """Learn an hour of traffic: level, hour of the day, hour on weekends, day of the week."""
    rows = np.flatnonzero(st.data_minutes >= 30)
    if len(rows):
        h, day, weekend = _when(hour, off)
        seen = np.log((st.block_n[rows] + 0.5) / st.data_minutes[rows])
        age = st.traffic_hours[rows].astype(np.float64)
        st.traffic_level[rows] = np.where(age == 0, seen, st.traffic_level[rows])
        said = (
            st.traffic_level[rows] + st.traffic_hour[rows, h].astype(np.float64) + st.traffic_day[rows, day]
        )
        if weekend:
            said = said + st.traffic_hour[rows, 24 + h]
        known = age >= TRAFFIC_KNOWN_HOURS
        noise = np.maximum(st.traffic_noise[rows], 0.01)
        inn = seen - said
        chance = 2.5 * np.sqrt(noise + 1 / (st.block_n[rows] + 1))
        bound = np.where(age < 48, 3.0, np.where(age < 336, 0.5, np.maximum(chance, 0.15)))
        inn = np.clip(inn, -bound, bound)
        g_hour = np.where(known, np.maximum(1 / (age / 24 + 1), 0.1), 1.0) * (0.35 if weekend else 1.0)
        g_hour = np.where(known, g_hour, 1.0)
        st.traffic_hour[rows, h] += g_hour * inn
        if weekend:
            rest = (1 - g_hour) * inn
            st.traffic_hour[rows, 24 + h] += np.where(known, np.where(age < 336, 0.8, 0.25), 0.0) * rest
        st.traffic_day[rows, day] += np.where(age >= 168, 0.03, 0.0) * inn
        st.traffic_level[rows] += np.where(known, 0.01, 0.0) * inn
        st.traffic_noise[rows] += np.where(known, np.maximum(0.02, 1 / np.maximum(age - 20, 2)), 0.0) * (
            np.maximum(inn**2 - 1 / (st.block_n[rows] + 1), 0) - st.traffic_noise[rows]
        )
        st.traffic_hours[rows] += 1
    st.block_n[:] = 0.0
    st.data_minutes[:] = 0.0
    forget = st.surge_minutes > SURGE_FORGOTTEN + 60
    st.surge_minutes[forget & (st.surge_minutes > 3 * SURGE_FORGOTTEN)] = 0


def suspicious(st: SeriesState, ex: Expectation, minute: int) -> Array:
    """Largest evidence of the bank ÷ its threshold, [series]."""
    k = len(DROPS)
    m = st.sum_m - st.m_at[:k]
    w = np.maximum(minute - st.onset[:k], 1.0)
    noise = baseline.window_noise(w, ex.white, ex.slow, ex.hour, ex.base)
    g = cusum.evidence((st.total - st.low)[:k], m, noise)
    return np.asarray((g / ex.threshold).max(0))


def begin(st: SeriesState, rows: Ints, at: Array) -> None:
    """First rate of series that have seen enough conversions; `at` are the terms at that time."""
    enough = (st.conversions[rows] >= FIRST_CONVERSIONS) & (st.seen[rows] >= FIRST_MINUTES)
    rows = rows[(st.ready[rows] == 0) & enough]
    if not len(rows):
        return
    x, e = st.conversions[rows], np.maximum(st.exposure[rows], 1e-9)
    st.mean[rows] = 0.0
    st.mean[rows, 0] = np.log(x / e)
    st.covariance[rows] = baseline.PRIOR_PACKED
    mean, cov, _, _ = baseline.learn(
        st.mean[rows], st.covariance[rows], x, x, at, np.full(len(rows), baseline.HOUR_NOISE_START)
    )
    st.mean[rows], st.covariance[rows] = mean, cov
    _ready(st, rows, x / np.maximum(st.seen[rows], 1))


def begin_from(st: SeriesState, rows: Ints, rate: float, sd: float) -> None:
    """Begin from a rate that the config expects."""
    st.mean[rows] = 0.0
    st.mean[rows, 0] = np.log(rate)
    st.covariance[rows] = baseline.PRIOR_PACKED
    st.covariance[rows, 0] = sd**2
    _ready(st, rows, np.full(len(rows), 0.5))


def _ready(st: SeriesState, rows: Ints, per_minute: Array) -> None:
    st.ready[rows] = 1
    st.level_wander[rows] = baseline.WANDER_START
    st.hour_noise[rows] = baseline.HOUR_NOISE_START
    st.slow_level[rows] = st.mean[rows, 0]
    st.per_minute[rows] = per_minute
    st.block_x[rows] = st.block_m[rows] = st.block_minutes[rows] = 0.0


def learn_block(
    st: SeriesState, rows: Ints, x: Array, m: Array, at: Array, hours: float, hour: int = 0
) -> None:
    """Feed one block of `rows` to the filter and learn the noise from how it was surprised; `hour` is local."""
    ok = m > 1e-6
    rows, x, m = rows[ok], x[ok].astype(np.float64), m[ok].astype(np.float64)
    if not len(rows):
        return
    noise = st.hour_noise[rows].astype(np.float64) / np.sqrt(hours)
    before = baseline.variance(st.covariance[rows], at)
    mean, cov, inn, var = baseline.learn(st.mean[rows], st.covariance[rows], x, m, at, noise)
    st.mean[rows], st.covariance[rows] = mean, cov
    if hours == 1.0:
        excess = inn**2 - 1.0 / m - before
        weight = (noise + before) / var
        first = 1.0 / (st.learned_hours[rows] + baseline.HOUR_NOISE_WORTH)
        gain = np.maximum(first, NOISE_LEARN) * weight
        st.hour_noise[rows] = np.clip(st.hour_noise[rows] + gain * (excess - st.hour_noise[rows]), 1e-4, 0.25)
        rest = baseline.REST_GAIN * baseline.REST_VAR / (baseline.REST_VAR + var)
        settled = st.learned_hours[rows] >= 36
        st.hour_rest[rows, hour % 24] = np.where(
            settled, 0.998 * st.hour_rest[rows, hour % 24] + rest * inn, 0.0
        )
        z = inn / np.sqrt(var)
        turn = baseline.WANDER_RATE * z * st.last_innovation[rows]
        st.level_wander[rows] = np.clip(
            st.level_wander[rows] * np.exp(turn), baseline.WANDER_MIN, baseline.WANDER_MAX
        )
        st.last_innovation[rows] = z
        st.learned_hours[rows] += 1


def close_young(st: SeriesState, minute_end: int, ex: Expectation, config: DetectionConfig) -> bool:
    """End of ten minutes: series without much history learn at once. Returns whether anything changed."""
    rows = np.flatnonzero((st.seen < YOUNG_MINUTES) & (st.seen > 0))
    if not len(rows):
        return False
    at = baseline.basis(minute_end - 5, config.utc_offset_minutes)
    ready = rows[(st.ready[rows] > 0) & (st.block_minutes[rows] >= 3)]
    if len(ready):
        calm = ready[suspicious(st, ex, minute_end)[ready] < HOLD_SHARE]
        learn_block(st, calm, st.block_x[calm], st.block_m[calm], at, 1 / 6)
        st.per_minute[calm] += (st.block_m[calm] / st.block_minutes[calm] - st.per_minute[calm]) * 0.2
        st.slow_level[calm] = st.mean[calm, 0]
        st.block_x[ready] = st.block_m[ready] = st.block_minutes[ready] = 0.0
    begin(st, rows, at)
    return True


def close_hour(st: SeriesState, hour: int, ex: Expectation, config: DetectionConfig) -> None:
    """End of an hour: put the block in the ring, learn those that waited long enough, re-anchor all sums."""
    off = config.utc_offset_minutes
    end = hour * 60 + 60
    high = suspicious(st, ex, end) >= HOLD_SHARE
    slot = hour % RING_HOURS
    ready = st.ready > 0
    full = (st.block_minutes >= 20) & ready
    st.hour_x[:, slot] = np.where(full, st.block_x, 0)
    here = st.mean @ baseline.basis(hour * 60 + 30, off) + rest_of_hour(st, slice(None), hour, off)
    st.hour_m[:, slot] = np.where(full, st.block_m * np.exp(ex.guard - here), 0)
    st.per_minute += np.where(
        full, (st.block_m / np.maximum(st.block_minutes, 1) - st.per_minute), 0
    ) * np.where(st.learned_hours < 24, 1.0 / (st.learned_hours + 2.0), 1 / 72.0)
    whole = np.flatnonzero((st.block_minutes == 60) & ~high)
    if len(whole):
        q = np.stack(
            baseline.split_noise(
                st.minute_x[:, whole].astype(np.float64), st.minute_m[:, whole].astype(np.float64)
            ), 1
        )  # fmt: skip
        st.noise_sums[whole] = NOISE_KEEP * st.noise_sums[whole] + q
    st.pending = np.where(ready, np.minimum(st.pending + 1, RING_HOURS), 0).astype(np.uint8)
    for age in range(RING_HOURS - 1, 0, -1):
        due = (st.pending == age + 1) & (~high | (age >= HOLD_HOURS - 1))
        rows = np.flatnonzero(due)
        if len(rows):
            past = hour - age
            at = baseline.basis(past * 60 + 30, off)
            k = past % RING_HOURS
            learn_block(
                st,
                rows,
                st.hour_x[rows, k],
                st.hour_m[rows, k] * np.exp(st.mean[rows] @ at + rest_of_hour(st, rows, past, off)),
                at,
                1.0,
                past + off // 60,
            )
            st.pending[rows] -= 1
    calm = ready & (st.paused == 0)
    baseline.wander(st.covariance, np.where(ready, st.level_wander, 0.0))
    gap = st.mean[:, 0] - st.slow_level
    young = st.learned_hours < 72
    follow = np.where(gap < 0, MEMORY_FALL * gap, np.minimum(gap, MEMORY_RISE))
    st.slow_level += np.where(calm, np.where(young, gap, follow), 0.0)
    learn_traffic(st, hour, off)
    begin(st, np.arange(len(st)), baseline.basis(hour * 60 + 30, off))
    st.block_x[:] = st.block_m[:] = st.block_minutes[:] = 0.0
    _anchor(st, end)


def rest_of_hour(st: SeriesState, rows: Ints | slice, hour: int, off: int) -> Array:
    """What the waves leave over in an hour: half its own, the rest from its neighbours (as interpolated)."""
    local = hour + off // 60
    before, own, after = (st.hour_rest[rows, (local + k) % 24].astype(np.float64) for k in (-1, 0, 1))
    return np.asarray(0.5 * own + 0.25 * (before + after))


def _anchor(st: SeriesState, minute: int) -> None:
    """Begin the sums of the next hour at 0, so that they stay small and blocks stay exact."""
    st.fast = exposure.next_hour(st.fast, exposure.FAST_MINUTES)
    st.slow = exposure.next_hour(st.slow, exposure.SLOW_MINUTES)
    st.total -= st.low
    st.low[:] = 0.0
    k = cusum.TRAFFIC
    for column in range(cusum.COLUMNS):
        kx, km = (
            (st.sum_n, st.sum_e)
            if column == k
            else (st.sum_x, st.sum_u if column == cusum.INTENT else st.sum_m)
        )
        st.x_at[column] -= kx
        st.m_at[column] -= km
    for s in (st.sum_x, st.sum_m, st.sum_u, st.sum_n, st.sum_e):
        s[:] = 0.0
    old = (minute - st.onset > LONGEST_WINDOW) & (np.arange(cusum.COLUMNS) != cusum.RECOVERY)[:, None]
    st.total[old] = 0.0
    st.x_at[old] = st.m_at[old] = 0.0
    st.onset[old] = minute
