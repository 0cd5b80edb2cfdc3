"""Seeded streams of visitors and conversions: the null classes and the drop classes of the acceptance table.

Written from the description of the traffic alone: nothing is imported from the detectors and no constant is shared
with them. All streams are arrays [minutes, series]; a stream starts on a random weekday.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DAY = 1440
WARMUP_DAYS = 14
SCORED_DAYS = 28

#: Traffic classes: expected conversions a minute -> (visitors a minute, conversion rate).
TRAFFIC = {0.1: (6.25, 0.016), 1.0: (45.0, 1 / 45), 10.0: (320.0, 1 / 32), 150.0: (4000.0, 0.0375)}

NULL_CLASSES = (
    "plain", "season", "drift", "overdispersion", "campaigns", "bots", "traffic_drops", "promotion_end",
    "blackouts", "mix_shift", "slow_delay",
)  # fmt: skip
DROP_CLASSES = (
    "clean", "real", "noisy", "in_campaign", "ramp", "low_intent", "cold_start", "short", "flapping", "outage",
    "one_segment",
)  # fmt: skip


@dataclass(frozen=True)
class Drop:
    """One planted drop: the rate is (1 − size) of the true one in minutes [start, end)."""

    series: int
    start: int
    end: int
    size: float
    segment: int | None = None


@dataclass
class Streams:
    """What a class generated.

    Attributes:
        visitors, conversions: [minutes, series]; NaN is a minute without data.
        first_minute: Epoch minute of row 0.
        warmup: Rows before scoring begins.
        drops: What was planted.
        surges: Spans (series, start, end) of unusual traffic, in which `low_intent_traffic` is right.
        members: Unit (what scores one series-month) of each column; segments share the unit of their whole.
        labels: (dimension, value) of each column.
    """

    visitors: Array
    conversions: Array
    first_minute: int
    warmup: int
    drops: list[Drop] = field(default_factory=list)
    surges: list[tuple[int, int, int]] = field(default_factory=list)
    members: list[int] = field(default_factory=list)
    labels: list[tuple[str, str]] = field(default_factory=list)

    @property
    def units(self) -> int:
        """Independent streams (wholes)."""
        return max(self.members) + 1

    @property
    def unit_months(self) -> float:
        """Scored series-months of 30 days."""
        return self.units * (len(self.visitors) - self.warmup) / (30 * DAY)


class Maker:
    """Builds visitors and rate step by step, then draws counts."""

    def __init__(self, level: float, series: int, seed: int, days: int = WARMUP_DAYS + SCORED_DAYS) -> None:
        self.rng = np.random.default_rng(seed)
        self.level = level
        self.minutes = days * DAY
        self.series = series
        base_n, base_r = TRAFFIC[level]
        spread = np.exp(self.rng.uniform(-0.3, 0.3, series))
        self.n = np.repeat((base_n * spread)[None, :], self.minutes, axis=0)
        self.rate = np.repeat((base_r / spread)[None, :], self.minutes, axis=0)
        self.lost = np.ones((self.minutes, series))
        self.no_intent = np.zeros((self.minutes, series))
        self.data = np.ones((self.minutes, series), bool)
        self.first_minute = 28_000_000 // DAY * DAY + int(self.rng.integers(0, 7)) * DAY
        self.delay_minutes: float | None = None
        self.noise_ar: tuple[float, float] | None = None
        self.noise_minute = 0.0
        self.drops: list[Drop] = []
        self.surges: list[tuple[int, int, int]] = []

    # ---- shapes -------------------------------------------------------------------------------------------------

    def season(self) -> None:
        """Two humps a day and quiet nights in traffic; a smaller wave and a weekend effect in the rate."""
        t = np.arange(self.minutes)[:, None] + self.first_minute
        hour = (t % DAY) / 60.0
        day = (t // DAY + 3) % 7
        shift = self.rng.uniform(-1.5, 1.5, self.series)
        x = hour - shift
        hump = (
            0.25
            + 0.75 * np.exp(-0.5 * (_wrap(x - 11.5) / 3.0) ** 2)
            + 1.0 * np.exp(-0.5 * (_wrap(x - 20.0) / 2.6) ** 2)
        )
        weekend = self.rng.uniform(0.65, 1.3, self.series)
        is_weekend = _smooth_weekend(t)
        by_day = np.exp(self.rng.normal(0, 0.04, (7, self.series)))
        traffic = hump * (1 + (weekend - 1) * is_weekend) * by_day[day[:, 0]]
        self.n *= traffic / traffic.mean(0)
        amp = self.rng.uniform(0.05, 0.18, self.series)
        amp2 = self.rng.uniform(0.0, 0.06, self.series)
        phase = self.rng.uniform(0, 24, self.series)
        wave = (
            1 + amp * np.cos(2 * np.pi * (x - phase) / 24) + amp2 * np.cos(4 * np.pi * (x - phase / 2) / 24)
        )
        rate_weekend = self.rng.uniform(-0.12, 0.1, self.series)
        rate = wave * (1 + rate_weekend * is_weekend)
        self.rate *= rate / ((rate * traffic).mean(0) / traffic.mean(0))

    def wander(self, daily_sd: float, trend_per_day: float) -> None:
        """Random walk of the log rate, smooth within the day, plus a trend."""
        days = self.minutes // DAY + 2
        steps = self.rng.normal(0, daily_sd, (days, self.series))
        steps += self.rng.uniform(-trend_per_day, trend_per_day, self.series)
        walk = np.cumsum(steps, 0)
        walk -= walk[WARMUP_DAYS]
        at = np.arange(self.minutes) / DAY
        i = at.astype(int)
        part = (at - i)[:, None]
        self.rate *= np.exp(walk[i] * (1 - part) + walk[i + 1] * part)

    def spells(
        self, per_day: float, shortest: int, longest: int, start_day: float = 2.0
    ) -> list[tuple[int, int, int]]:
        """Random spans (series, start, end), at least three hours apart."""
        out = []
        for s in range(self.series):
            t = int(start_day * DAY + self.rng.exponential(DAY / per_day))
            while t < self.minutes - 60:
                length = int(np.exp(self.rng.uniform(np.log(shortest), np.log(longest))))
                out.append((s, t, min(t + length, self.minutes)))
                t += length + 180 + int(self.rng.exponential(DAY / per_day))
        return out

    def campaigns(self, per_day: float = 0.35) -> None:
        """Paid traffic: 1.6-2.6 times the visitors for hours, the extra ones buy at a tenth of the usual rate."""
        for s, a, b in self.spells(per_day, 90, 600):
            extra = self.rng.uniform(0.6, 1.6)
            rise = self.rng.uniform(3, 20)
            k = np.arange(b - a)
            shape = np.minimum(1, (k + 1) / rise) * np.minimum(1, (b - a - k) / rise)
            added = extra * shape * self.n[a:b, s]
            self.no_intent[a:b, s] += added * (1 - self.rng.uniform(0.03, 0.2))
            self.n[a:b, s] += added
            self.surges.append((s, a, b + 90))

    def bots(self, per_day: float = 0.6) -> None:
        """Crawlers: sudden visitors that never buy, 15 min to 5 h, 1.4 to 5 times the traffic."""
        for s, a, b in self.spells(per_day, 15, 300):
            added = self.n[a:b, s] * self.rng.uniform(0.4, 4.0)
            self.no_intent[a:b, s] += added
            self.n[a:b, s] += added
            self.surges.append((s, a, b + 90))

    def promotions(self) -> None:
        """A better rate for two to seven days, then as before."""
        for s in range(self.series):
            t = int(DAY * (WARMUP_DAYS + self.rng.uniform(-3, 4)))
            while t < self.minutes - 8 * DAY:
                length = int(DAY * self.rng.uniform(2, 7))
                self.rate[t : t + length, s] *= self.rng.uniform(1.2, 1.6)
                t += length + int(DAY * self.rng.uniform(5, 9))

    # ---- drops --------------------------------------------------------------------------------------------------

    def plant(
        self, size: float, length: int, pause: int, *, ramp: int = 0, on_off: tuple[int, int] | None = None
    ) -> None:
        """Drops of one size, again and again, at random times of day."""
        for s in range(self.series):
            t = WARMUP_DAYS * DAY + int(self.rng.uniform(0, DAY))
            while t + length + 300 < self.minutes:
                k = np.arange(length)
                depth = size * np.minimum(1.0, (k + 1) / ramp) if ramp else np.full(length, size)
                if on_off is not None:
                    depth = np.where(k % sum(on_off) < on_off[0], depth, 0.0)
                self.lost[t : t + length, s] *= 1 - depth
                self.drops.append(Drop(s, t, t + length, size))
                t += length + pause + int(self.rng.uniform(0, DAY))

    # ---- counts -------------------------------------------------------------------------------------------------

    def draw(self) -> Streams:
        """Draw visitors and conversions."""
        rng = self.rng
        traffic_noise = np.exp(_ar(rng, self.n.shape, 0.05, 40.0))
        n = self.n * traffic_noise
        visitors = rng.poisson(n).astype(float)
        buyers = np.maximum(visitors - rng.poisson(self.no_intent * traffic_noise), 0) * self.rate
        if self.delay_minutes is not None:
            buyers = _delayed(buyers, self.delay_minutes)
        mean = buyers * self.lost
        if self.noise_ar is not None:
            mean = mean * np.exp(_ar(rng, mean.shape, *self.noise_ar))
        if self.noise_minute:
            shape = 1 / self.noise_minute**2
            mean = mean * rng.gamma(shape, 1 / shape, mean.shape)
        conversions = rng.poisson(np.maximum(mean, 0)).astype(float)
        visitors[~self.data] = 0
        conversions[~self.data] = 0
        return Streams(
            visitors, conversions, self.first_minute, WARMUP_DAYS * DAY, self.drops, self.surges,
            list(range(self.series)), [("all", "all")] * self.series,
        )  # fmt: skip


def _wrap(h: Array) -> Array:
    return (h + 12) % 24 - 12


def _smooth_weekend(t: NDArray[np.int64]) -> Array:
    """1 on Saturday and Sunday, 0 else, with two hours of transition."""
    week = ((t + 3 * DAY) % (7 * DAY)) / 60.0
    return np.clip((week - 119) / 2, 0, 1) * np.clip((169 - week) / 2, 0, 1)


def _ar(rng: np.random.Generator, shape: tuple[int, ...], sd: float, minutes: float) -> Array:
    """AR(1) noise of the given standard deviation and correlation time."""
    rho = np.exp(-1 / minutes)
    e = rng.normal(0, sd * np.sqrt(1 - rho**2), shape)
    e[0] = rng.normal(0, sd, shape[1:])
    for i in range(1, shape[0]):
        e[i] += rho * e[i - 1]
    return e


def _delayed(mean: Array, minutes: float) -> Array:
    """Spread over the minutes after the visit: part at once, part gamma-distributed."""
    k = np.arange(int(minutes * 10) + 5)
    tail = (k + 0.5) * np.exp(-(k + 0.5) / (minutes / 2))
    kernel = 0.75 * tail / tail.sum()
    kernel[0] += 0.25
    size = 1 << (len(mean) + len(kernel)).bit_length()
    f = np.fft.rfft(mean, size, axis=0) * np.fft.rfft(kernel, size)[:, None]
    return np.maximum(np.fft.irfft(f, size, axis=0)[: len(mean)], 0)


def _real(m: Maker) -> None:
    m.season()
    m.noise_ar = (0.03, 20.0)
    m.noise_minute = 0.05
    m.delay_minutes = 6.0


def null_class(name: str, level: float, series: int, seed: int) -> Streams:
    """Streams of a null class: nothing in them is a fallen rate."""
    if name == "mix_shift":
        return _mix_shift(level, series, seed)
    m = Maker(level, series, seed)
    if name != "plain":
        m.season()
    if name == "drift":
        m.wander(0.05, 0.015)
    elif name == "overdispersion":
        m.noise_ar = (0.07, 30.0)
        m.noise_minute = 0.15
    elif name == "campaigns":
        m.delay_minutes = 6.0
        m.campaigns()
    elif name == "bots":
        m.bots()
    elif name == "traffic_drops":
        for s, a, b in m.spells(0.4, 45, 480):
            m.n[a:b, s] *= m.rng.uniform(0.1, 0.7)
    elif name == "promotion_end":
        m.promotions()
    elif name == "blackouts":
        for s, a, b in m.spells(0.4, 8, 300):
            m.data[a:b, s] = False
    elif name == "slow_delay":
        m.delay_minutes = 75.0
    elif name not in ("plain", "season"):
        raise ValueError(name)
    return m.draw()


def _segments(m: Maker, shares: Array, factors: Array, lost: Array) -> Streams:
    """Split a maker's stream into segments: shares [minutes, series, k], rate factors [k], lost [minutes, series, k]."""
    rng = m.rng
    n = rng.poisson(m.n[:, :, None] * shares).astype(float)
    mean = n * m.rate[:, :, None] * factors * lost
    if m.noise_ar is not None:
        mean = mean * np.exp(_ar(rng, m.rate.shape, *m.noise_ar))[:, :, None]
    x = rng.poisson(mean).astype(float)
    k = len(factors)
    names = ("desktop", "mobile", "tablet", "tv")[:k]
    v = np.concatenate([n.sum(2)[:, :, None], n], 2).reshape(m.minutes, -1)
    c = np.concatenate([x.sum(2)[:, :, None], x], 2).reshape(m.minutes, -1)
    members = [u for u in range(m.series) for _ in range(k + 1)]
    labels = [lab for _ in range(m.series) for lab in (("all", "all"), *(("device", s) for s in names))]
    return Streams(v, c, m.first_minute, WARMUP_DAYS * DAY, m.drops, m.surges, members, labels)


def _mix_shift(level: float, series: int, seed: int) -> Streams:
    """The share of the segment that buys less grows for hours, by a third to a double; no segment's rate changes."""
    m = Maker(level, series, seed)
    m.season()
    m.noise_ar = (0.03, 20.0)
    weights = np.repeat(np.repeat(np.array([[[0.45, 0.45, 0.1]]]), m.minutes, 0), series, 1)
    for s, a, b in m.spells(0.4, 120, 900):
        weights[a:b, s, 1] *= m.rng.uniform(1.3, 2.2)
        weights[a:b, s, 0] *= m.rng.uniform(0.5, 0.9)
    shares = weights / weights.sum(2, keepdims=True)
    return _segments(m, shares, np.array([1.45, 0.6, 0.8]), np.ones((m.minutes, series, 3)))


def drop_class(
    name: str, level: float, size: float, series: int, seed: int, length: int, pause: int = 2 * DAY
) -> Streams:
    """Streams of a drop class with planted drops of one size; lengths in minutes."""
    days = 42 if name != "cold_start" else 2
    m = Maker(level, series, seed, days)
    if name == "clean":
        m.plant(size, length, pause)
    elif name == "real":
        _real(m)
        m.plant(size, length, pause)
    elif name == "noisy":
        m.season()
        m.noise_ar, m.noise_minute, m.delay_minutes = (0.07, 30.0), 0.15, 6.0
        m.plant(size, length, pause)
    elif name == "in_campaign":
        _real(m)
        m.plant(size, length, pause)
        for d in m.drops:
            a, b = max(d.start - 60, 0), d.end
            added = m.n[a:b, d.series] * 1.0
            m.no_intent[a:b, d.series] += added * 0.9
            m.n[a:b, d.series] += added
            m.surges.append((d.series, a, b + 90))
    elif name == "ramp":
        _real(m)
        m.plant(size, length, pause, ramp=int(m.rng.integers(60, 121)))
    elif name == "low_intent":
        _real(m)
        m.campaigns(0.5)
    elif name == "cold_start":
        _real(m)
        for s in range(series):
            m.lost[360 : 360 + length, s] = 1 - size
            m.drops.append(Drop(s, 360, 360 + length, size))
    elif name in ("short", "outage"):
        _real(m)
        m.plant(size, length, pause)
    elif name == "flapping":
        _real(m)
        m.plant(size, length, pause, on_off=(20, 15))
    elif name == "one_segment":
        return _one_segment(m, size, length, pause)
    else:
        raise ValueError(name)
    out = m.draw()
    if name == "cold_start":
        out.warmup = 0
    return out


def _one_segment(m: Maker, size: float, length: int, pause: int) -> Streams:
    m.season()
    m.noise_ar = (0.03, 20.0)
    m.plant(size, length, pause)
    lost = np.ones((m.minutes, m.series, 3))
    named = []
    for d in m.drops:
        which = int(m.rng.integers(0, 2))
        lost[d.start : d.end, d.series, which] = 1 - size
        named.append(Drop(d.series, d.start, d.end, size, which))
    m.drops = named
    shares = np.broadcast_to(np.array([0.45, 0.4, 0.15]), (m.minutes, m.series, 3))
    return _segments(m, shares, np.array([1.2, 0.8, 1.0]), lost)


def noon_case(size: float, series: int, seed: int, repaired_after: int = 360) -> Streams:
    """750 visitors a minute at 4 %, two days of history, a drop at noon of the third day, repaired after six hours."""
    m = Maker(10.0, series, seed, 4)
    m.n[:] = 750.0
    m.rate[:] = 0.04
    m.season()
    m.n *= 750.0 / m.n[2 * DAY + 720]
    start = 2 * DAY + 720
    m.lost[start : start + repaired_after] = 1 - size
    m.drops = [Drop(s, start, start + repaired_after, size) for s in range(series)]
    out = m.draw()
    out.warmup = 2 * DAY
    return out
