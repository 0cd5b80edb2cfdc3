"""A block of minutes of one hour over many series: exposure, expectation, CUSUM paths, and what happened first.

`look` computes the paths of a block without changing anything; `commit` takes the paths over into the state, for each
series up to its own last row. So the caller can stop a series at its first event, change its state (an alert opens,
a recovery ends it) and go on with the rest of the block, while all series without an event are done in one pass.

Rows a series has already behind it are not `live` and change nothing, to the last bit.

Longer than 300 lines because it is one pass over arrays that all its steps share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.detection import baseline, cusum, exposure
from monitor.detection.cusum import DROPS, INTENT, LOG_REST, RECOVERY, TRAFFIC
from monitor.detection.state import SeriesState

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

#: Expected visitors that may be missing in one run before silence is no chance (probability e^−14).
SILENT = 14.0
#: Traffic is compared with its own season from so many learned hours on.
TRAFFIC_KNOWN_HOURS = 24
#: A surge that lasts so long is the new normal.
SURGE_FORGOTTEN = 1440
#: Shortest time back to normal that ends an alert, and the rate it needs (share of expected).
RECOVERY_MINUTES, RECOVERY_RATE = 3, 0.9
#: Evidence in nats for `traffic_drop` and for `low_intent_traffic`.
TRAFFIC_EVIDENCE, INTENT_EVIDENCE = 12.0, 12.0
#: Traffic must be low for so many minutes (if it is not gone altogether).
TRAFFIC_MINUTES = 5
#: Surge minutes before `low_intent_traffic` may be said.
INTENT_MINUTES = 10
#: Least relative variance of hourly traffic.
TRAFFIC_NOISE_LEAST = 0.006
#: A window may not begin longer ago than this (minutes): older excursions start anew.
LONGEST_WINDOW = 3 * 1440

#: Bits of `Look.events`.
DROP, RECOVERED, TRAFFIC_FELL, TRAFFIC_BACK, LOW_INTENT, INTENT_OVER, STALE, DATA_BACK = (
    1 << i for i in range(8)
)


@dataclass
class Expectation:
    """What an hour's baseline says, per series; fixed within the hour.

    Attributes:
        log_rate, log_rate_step: Log rate at minute 0 of the hour and its change per minute.
        guard: Log by which the rate judged by is below the learned one (a raised rate may be a promotion).
        base: Variance of the log rate.
        white, slow, hour: Noise variances, see `baseline.window_noise`.
        traffic: Log visitors at the middle of the hour before, this and the next, [3, series]; NaN if unknown.
        traffic_noise: Relative variance of hourly traffic.
        threshold: [drops, series].
    """

    log_rate: Array
    log_rate_step: Array
    guard: Array
    base: Array
    white: Array
    slow: Array
    hour: Array
    traffic: Array
    traffic_noise: Array
    threshold: Array

    def take(self, cols: Ints | slice) -> Expectation:
        """The rows of some series."""
        return Expectation(*(getattr(self, f)[..., cols] for f in self.__dataclass_fields__))


@dataclass
class Look:
    """Paths of a block; [minutes, series] unless said otherwise."""

    minute: int
    visitors: Array
    raw: Array
    conversions: Array
    expected: Array
    counted: Bools
    learnable: Bools
    in_surge: Bools
    frozen: Bools
    has_data: Bools
    live: Bools
    usual: Array
    fast_sum: Array
    slow_sum: Array
    silence: Array
    gap: Array
    surge_minutes: Array
    sums: Array
    paths: cusum.Paths
    events: NDArray[np.uint8]
    exposure: Array


def look(
    st: SeriesState, ex: Expectation, j0: int, minute: int, n: Array, x: Array, live: Bools,
    factor: Array | None, still: Bools | None, min_lost: float, stale_after: int,
) -> Look:  # fmt: skip
    """Compute the paths of a block of minutes within one hour.

    Args:
        st: State of these series.
        ex: Expectation of these series.
        j0: Minute of the hour of the first row.
        minute: Epoch minute of the first row.
        n, x: Visitors and conversions; NaN visitors is a minute without data.
        live: Rows that still lie before each series.
        factor: Calendar: expected rate times this; None is 1.
        still: Quiet: neither alerts nor learning; None is nowhere.
        min_lost: Least lost conversions of an alert.
        stale_after: Minutes without data that make a series stale.
    """
    rows = len(n)
    data = ~np.isnan(n)
    has_data = data & live
    complete = bool(has_data.all())
    if not complete:
        n = np.where(has_data, n, 0.0)
        x = np.where(has_data, x, 0.0)
    at = np.arange(j0, j0 + rows, dtype=np.float64)[:, None] + 0.5
    known = ~np.isnan(ex.traffic[1])
    usual = np.exp(_between(ex.traffic, at))
    believed = np.where(known & (st.surge_minutes <= SURGE_FORGOTTEN), exposure.bounded(n, usual), n)
    if (st.seen == 0).any():  # the first minute with data stands for those before it
        begins = np.argmax(has_data, axis=0)
        before = (np.arange(rows)[:, None] < begins) & (st.seen == 0)
        believed = np.where(before, believed[begins, np.arange(n.shape[1])], believed)
    first = (believed[0], j0)
    fast_from = _or_first(st, st.fast, *first, exposure.FAST_MINUTES)
    slow_from = _or_first(st, st.slow, *first, exposure.SLOW_MINUTES)
    fast, fast_sum = exposure.average(fast_from, believed, j0, exposure.FAST_MINUTES)
    slow, slow_sum = exposure.average(slow_from, believed, j0, exposure.SLOW_MINUTES)
    could = exposure.mix(n, fast, slow)
    rate = np.exp(ex.log_rate + ex.log_rate_step * at - ex.guard)
    if factor is not None:
        rate = rate * factor
    ratio = np.where(known, could / np.maximum(usual, 1e-9), 1.0)
    surge = ratio > exposure.SURGE
    if st.surge_minutes.any() or surge.any():
        surge_minutes = _run_length(surge & has_data, st.surge_minutes, live)
        lasting = surge_minutes > SURGE_FORGOTTEN
        surge &= ~lasting
        ratio = np.where(lasting, 1.0, ratio)
    else:
        surge_minutes = np.zeros_like(n)
    silence = _silence(n, has_data, np.where(known, usual, np.maximum(slow, 1e-3)), st.silence)
    silent = silence > SILENT
    counted = has_data & ~silent & (st.ready > 0)
    if still is not None:
        counted &= ~still
    unbelieving = could * rate
    expected = unbelieving * exposure.surge_factor(ratio)
    expected *= counted
    alerting = st.alerting > 0
    learnable = counted & ~surge & (st.paused == 0)
    gap = _run_length(~has_data & live, st.gap, live) if not complete or st.gap.any() else np.zeros_like(n)
    sums = np.stack(
        [x * counted, expected, unbelieving * counted, n * has_data, np.where(known, usual, 0.0) * has_data]
    )
    steps = np.empty((cusum.COLUMNS, rows, n.shape[1]))
    xc = sums[0].copy()
    for d, (log_rest, drop) in enumerate(zip(LOG_REST, DROPS, strict=True)):
        np.multiply(xc, log_rest, out=steps[d])
        steps[d] += drop * expected
    steps[INTENT] = np.where(
        surge, xc * np.log1p(-cusum.INTENT_DROP) + cusum.INTENT_DROP * sums[2], -1.0
    ) * has_data  # fmt: skip
    left = np.where(alerting, st.remaining, 1.0)
    steps[RECOVERY] = (-np.log(left)) * xc - (1.0 - left) * expected
    steps[TRAFFIC] = (n * np.log1p(-cusum.TRAFFIC_DROP) + cusum.TRAFFIC_DROP * sums[4]) * (has_data & known)
    paths = cusum.run(st.total, st.low, steps)
    sums[:, 0] += np.stack([st.sum_x, st.sum_m, st.sum_u, st.sum_n, st.sum_e])
    if rows > 1:
        np.add.accumulate(sums, axis=1, out=sums)
    out = Look(
        minute, n, x, xc, expected, counted, learnable, surge, silent & has_data, has_data, live, usual, fast_sum, slow_sum,
        silence, gap, surge_minutes, sums, paths, np.zeros(n.shape, np.uint8), could,
    )  # fmt: skip
    _find_events(out, st, ex, ratio, known, still, min_lost, stale_after)
    return out


def _or_first(st: SeriesState, total: Array, n: Array, j0: int, minutes: float) -> Array:
    """Anchored sum before the block; of a series that begins now as if its first minute `n` had always been."""
    new = st.seen == 0
    return np.where(new, n * np.exp(j0 / minutes), total) if new.any() else total


def _between(points: Array, at: Array) -> Array:
    """Linear interpolation between the middles of three hours."""
    u = (at - 30.0) / 60.0
    before, here, after = points
    return np.asarray(here + np.where(u < 0, (here - before) * u, (after - here) * u))


def _run_length(on: Bools, carried: Array, live: Bools) -> Array:
    """Length of the present run of `on`, continuing `carried`; rows that are not live leave it as it is."""
    rows = np.arange(1, len(on) + 1, dtype=np.float64)[:, None]
    past = (~live).sum(0)
    broken = np.maximum.accumulate(np.where(~on & live, rows, 0.0), axis=0)
    return np.asarray(np.where(broken > 0, rows - broken, carried + np.maximum(rows - past, 0.0)))


def _silence(n: Array, has_data: Bools, usual: Array, carried: Array) -> Array:
    """Expected visitors since the last visitor."""
    here = n > 0
    if here.all():
        return np.zeros_like(n)
    cum = np.cumsum(usual * has_data, axis=0) + carried
    last = np.maximum.accumulate(np.where(here, cum, 0.0), axis=0)
    return np.asarray(cum - last)


def _find_events(
    out: Look, st: SeriesState, ex: Expectation, ratio: Array, known: Bools, still: Bools | None,
    min_lost: float, stale_after: int,
) -> None:  # fmt: skip
    score = out.paths.score
    alerting = st.alerting > 0
    rows = np.arange(len(out.visitors))[:, None]
    free = out.live & ~alerting & (out.minute + rows >= st.hold_until)
    if still is not None:
        free &= ~still
    proposed = (score[: len(DROPS)] >= ex.threshold[:, None]) & free
    cols = np.flatnonzero(proposed.any((0, 1)))
    if len(cols):
        fired = np.zeros((len(rows), len(cols)), bool)
        for d in range(len(DROPS)):
            x, m, w = window(out, st, d, cols)
            noise = baseline.window_noise(w, ex.white[cols], ex.slow[cols], ex.hour[cols], ex.base[cols])
            g = cusum.evidence(score[d][:, cols], m, noise)
            fired |= (
                proposed[d][:, cols] & (g >= ex.threshold[d, cols]) & (m - x >= min_lost) & (x < 0.95 * m)
            )
        out.events[:, cols] |= np.where(fired, DROP, 0).astype(np.uint8)
    cols = np.flatnonzero(alerting)
    if len(cols):
        x, m, w = window(out, st, RECOVERY, cols)
        # The minute in which it was repaired is half broken: without it the rate may be back as well.
        first_x, first_m = _first_minute(out, st, RECOVERY, cols, w)
        high = (x >= RECOVERY_RATE * m) & (w >= RECOVERY_MINUTES)
        high |= (x - first_x >= RECOVERY_RATE * (m - first_m)) & (w > RECOVERY_MINUTES)
        back = (score[RECOVERY][:, cols] >= st.recovery_at[cols]) & high & out.counted[:, cols]
        out.events[:, cols] |= np.where(back, RECOVERED, 0).astype(np.uint8)
    fell = (score[TRAFFIC] >= TRAFFIC_EVIDENCE) & out.live
    cols = np.flatnonzero(fell.any(0))
    if len(cols):
        x, m, w = window(out, st, TRAFFIC, cols)
        noise = np.maximum(ex.traffic_noise[cols], TRAFFIC_NOISE_LEAST)
        sure = cusum.evidence(score[TRAFFIC][:, cols], m, noise) >= TRAFFIC_EVIDENCE
        sure &= (x < 0.6 * m) & fell[:, cols] & (st.traffic_hours[cols] >= 2 * TRAFFIC_KNOWN_HOURS)
        sure &= (ratio[:, cols] < 0.6) & ((w >= TRAFFIC_MINUTES) | (x <= 0))
        out.events[:, cols] |= np.where(sure, TRAFFIC_FELL, 0).astype(np.uint8)
    out.events |= np.where((ratio > 0.8) & out.has_data & known, TRAFFIC_BACK, 0).astype(np.uint8)
    if out.in_surge.any():
        cols = np.flatnonzero(out.in_surge.any(0))
        x, m, w = window(out, st, INTENT, cols, unbelieving=True)
        noise = baseline.window_noise(w, ex.white[cols], ex.slow[cols], ex.hour[cols], ex.base[cols])
        low = cusum.evidence(score[INTENT][:, cols], m, noise) >= INTENT_EVIDENCE
        low &= out.in_surge[:, cols] & (out.surge_minutes[:, cols] >= INTENT_MINUTES) & (x < 0.85 * m)
        out.events[:, cols] |= np.where(low, LOW_INTENT, 0).astype(np.uint8)
    out.events |= np.where((ratio < 1.15) & out.has_data, INTENT_OVER, 0).astype(np.uint8)
    if out.gap.any() or st.gap.any():
        out.events |= np.where((out.gap >= stale_after) & (st.seen > 0), STALE, 0).astype(np.uint8)
        out.events |= np.where(out.has_data, DATA_BACK, 0).astype(np.uint8)


def window(
    out: Look, st: SeriesState, column: int, cols: Ints, *, unbelieving: bool = False
) -> tuple[Array, Array, Array]:
    """Conversions, expected conversions and minutes since the beginning of a column's excursion.

    Returns:
        Three arrays [minutes, len(cols)].
    """
    kx, km = (3, 4) if column == TRAFFIC else (0, 2 if unbelieving else 1)
    zero = out.paths.total[column][:, cols] <= out.paths.low[column][:, cols]
    rows = np.arange(len(zero))[:, None]
    last = np.maximum.accumulate(np.where(zero, rows, -1), axis=0)
    i = np.arange(len(cols))[None]
    sx, sm = out.sums[kx][:, cols], out.sums[km][:, cols]
    x_at = np.where(last >= 0, sx[last, i], st.x_at[column][cols])
    m_at = np.where(last >= 0, sm[last, i], st.m_at[column][cols])
    onset = np.where(last >= 0, out.minute + last + 1, st.onset[column][cols])
    return sx - x_at, sm - m_at, (out.minute + rows + 1 - onset).astype(np.float64)


def _first_minute(out: Look, st: SeriesState, column: int, cols: Ints, w: Array) -> tuple[Array, Array]:
    """Conversions and expected conversions of the first minute of a column's excursion, `w` minutes long.

    0 where it is too long ago to be remembered. Two arrays [minutes, len(cols)].
    """
    rows = np.arange(len(w))[:, None]
    begin = (rows + 1 - w).astype(np.int64)  # row of the first minute; < 0: before this block
    here = begin >= 0
    i = np.arange(len(cols))[None]
    row, slot = np.clip(begin, 0, len(w) - 1), (out.minute + begin) % 60
    known = w < 60
    x = np.where(here, out.conversions[:, cols][row, i], st.minute_x[slot, cols[i]])
    m = np.where(here, out.expected[:, cols][row, i], st.minute_m[slot, cols[i]])
    return np.where(known, x, 0.0), np.where(known, m, 0.0)


def commit(st: SeriesState, out: Look, ex: Expectation, cols: Ints | slice, j0: int, end: Ints) -> None:
    """Take the paths over into the state of `cols`, for each series up to and with row `end`."""
    rows, s = out.visitors.shape
    i = np.arange(s)
    whole = bool((end == rows - 1).all())

    def last(a: Array) -> Array:
        return np.asarray(a[..., -1, :] if whole else a[..., end, i])

    taken = out.live if whole else out.live & (np.arange(rows)[:, None] <= end)
    st.fast[cols] = last(out.fast_sum)
    st.slow[cols] = last(out.slow_sum)
    st.silence[cols] = last(out.silence)
    st.gap[cols] = last(out.gap)
    st.surge_minutes[cols] = last(out.surge_minutes)
    st.sum_x[cols], st.sum_m[cols], st.sum_u[cols], st.sum_n[cols], st.sum_e[cols] = last(out.sums)
    st.total[:, cols] = last(out.paths.total)
    st.low[:, cols] = last(out.paths.low)
    zero = out.paths.total <= out.paths.low
    if not whole:
        zero &= np.arange(rows)[:, None] <= end
    if rows == 1:
        row = np.where(zero[:, 0], 0, -1)
    else:
        row = np.where(zero.any(1), rows - 1 - np.argmax(zero[:, ::-1], axis=1), -1)
    hit = row >= 0
    for c in range(cusum.COLUMNS):
        kx, km = (3, 4) if c == TRAFFIC else (0, 2 if c == INTENT else 1)
        r = np.maximum(row[c], 0)
        st.x_at[c][cols] = np.where(hit[c], out.sums[kx][r, i], st.x_at[c][cols])
        st.m_at[c][cols] = np.where(hit[c], out.sums[km][r, i], st.m_at[c][cols])
        st.onset[c][cols] = np.where(hit[c], out.minute + r + 1, st.onset[c][cols])
    learn = out.learnable & taken
    plain = bool(learn.all())
    data = out.has_data & taken
    st.seen[cols] += data.sum(0, dtype=np.int32)
    st.block_x[cols] += (out.conversions if plain else out.conversions * learn).sum(0)
    st.block_m[cols] += (out.expected if plain else out.expected * learn).sum(0)
    st.block_minutes[cols] += learn.sum(0)
    calm = data & ~out.frozen
    st.block_n[cols] += (out.visitors * calm).sum(0)
    st.data_minutes[cols] += calm.sum(0)
    st.conversions[cols] += (out.raw * data).sum(0)
    watched = st.paused[cols] > 0
    if watched.any():
        dx, dm = (out.conversions * (taken & watched)).sum(0), (out.expected * (taken & watched)).sum(0)
        st.alert_x[cols] += dx
        st.alert_m[cols] += dm
        st.recent_x[cols] += dx
        st.recent_m[cols] += dm
    new = st.ready[cols] == 0
    if new.any():
        st.exposure[cols] += np.where(new, (out.exposure * data).sum(0), 0.0)
    j = slice(j0, j0 + rows)
    if plain:
        st.minute_x[j, cols] = np.minimum(out.conversions, 65535)
        st.minute_m[j, cols] = np.minimum(out.expected, 65000)
    else:
        st.minute_x[j, cols] = np.where(taken, np.minimum(out.conversions, 65535), st.minute_x[j, cols])
        st.minute_m[j, cols] = np.where(taken, np.minimum(out.expected, 65000), st.minute_m[j, cols])
