"""The acceptance table: runs all classes on fresh seeds, compares with the limit, writes the report.

Each criterion has a name, a `must` and a `stretch` bound; a missed drop counts as an infinite delay.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tests.detection import simulate
from tests.detection.limit import limit_minutes
from tests.detection.scoring import (
    DropResult,
    NullResult,
    default_config,
    drop_length,
    score_drops,
    score_null,
)

Say = Callable[[str], None]


@dataclass
class Criterion:
    """One line of the acceptance table; `low` is good unless `at_least`."""

    what: str
    value: float
    must: float
    stretch: float
    at_least: bool = False
    note: str = ""

    def holds(self, bound: float) -> bool:
        """Whether the value meets a bound."""
        return self.value >= bound if self.at_least else self.value <= bound

    @property
    def verdict(self) -> str:
        """`PASS stretch`, `PASS must` or `FAIL`."""
        if self.holds(self.stretch):
            return "PASS stretch"
        return "PASS must" if self.holds(self.must) else "FAIL"


@dataclass
class Report:
    """Everything that was measured."""

    seed: int
    nulls: dict[tuple[str, float], NullResult] = field(default_factory=dict)
    drops: dict[tuple[str, float, float], DropResult] = field(default_factory=dict)
    noon: dict[float, DropResult] = field(default_factory=dict)
    cost_us: float = math.nan
    seconds: float = 0.0


#: Drop classes of the long form: class → (traffic levels, drops).
PLAN: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "clean": ((0.1, 1.0, 10.0, 150.0), (0.15, 0.3, 0.5, 1.0)),
    "real": ((0.1, 1.0, 10.0, 150.0), (0.15, 0.3, 0.5, 1.0)),
    "noisy": ((1.0, 10.0, 150.0), (0.3, 0.5, 1.0)),
    "in_campaign": ((1.0, 10.0), (0.5, 1.0)),
    "ramp": ((1.0, 10.0), (0.3, 0.5)),
    "low_intent": ((1.0, 10.0), (0.0,)),
    "cold_start": ((1.0, 10.0, 150.0), (0.5, 1.0)),
    "short": ((1.0, 10.0), (0.5, 1.0)),
    "flapping": ((1.0, 10.0), (1.0,)),
    "outage": ((1.0, 10.0, 150.0), (1.0,)),
    "one_segment": ((1.0, 10.0, 150.0), (0.5, 1.0)),
}


#: Classes that the acceptance table names; they run first, so that a slow machine leaves out others.
DECISIVE = ("real", "clean", "one_segment", "outage")


def length_of(name: str, level: float, drop: float) -> int:
    """Minutes that a planted drop lasts."""
    if name == "flapping":
        return 245
    limit = limit_minutes(level, drop) if drop > 0 else 60.0
    if name == "short":
        return max(int(2 * limit), 5)
    if name == "cold_start":
        return 720
    return drop_length(limit)


def measure(seed: int, units: int = 24, say: Say = lambda _: None, budget_seconds: float = 840.0) -> Report:
    """Run everything; classes that no longer fit the time are left out (and the report says so)."""
    out, start, n = Report(seed), time.perf_counter(), 0
    config = default_config()

    def over() -> bool:
        return time.perf_counter() - start > budget_seconds

    def drop_run(name: str, level: float, drop: float) -> None:
        nonlocal n
        n += 1
        if over():
            return
        few = max(units // 3, 4)
        if name in ("clean", "real") and level >= 1:
            few = 2 * units  # a median of few drops says little
        elif name == "cold_start":
            few = 4 * units
        streams = simulate.drop_class(name, level, drop, few, seed + 1000 * n, length_of(name, level, drop))
        out.drops[name, level, drop] = score_drops(streams, config)
        say(f"{name} {level:g} {drop:.0%}: {time.perf_counter() - start:.0f} s")

    cases = [
        (name, level, drop) for name, (levels, drops) in PLAN.items() for level in levels for drop in drops
    ]
    for drop in (0.25, 0.5, 0.8, 1.0):
        n += 1
        out.noon[drop] = score_drops(simulate.noon_case(drop, 2 * units, seed + 1000 * n), config)
    for case in cases:
        if case[0] in DECISIVE and case[1] >= 1:
            drop_run(*case)
    for name in simulate.NULL_CLASSES:
        for level in simulate.TRAFFIC:
            n += 1
            if over():
                continue
            few = {"mix_shift": max(units // 2, 4), "plain": 4 * units}.get(name, units)
            out.nulls[name, level] = score_null(
                simulate.null_class(name, level, few, seed + 1000 * n), config
            )
        say(f"{name}: {_rate(out, name)}")
    for case in cases:
        if case not in out.drops:
            drop_run(*case)
    out.seconds = time.perf_counter() - start
    return out


def _pooled(report: Report, name: str) -> tuple[int, float]:
    parts = [r for (c, _), r in report.nulls.items() if c == name]
    return sum(len(r.false) for r in parts), sum(r.months for r in parts)


def _rate(report: Report, name: str) -> str:
    n, months = _pooled(report, name)
    return (
        f"{n / months:.2f} false alarms a series-month ({months:.0f} series-months)" if months else "left out"
    )


def interval(n: int, months: float) -> tuple[float, float]:
    """95 % interval of a rate from `n` events (Wilson-Hilferty approximation of the exact Poisson interval)."""

    def bound(k: float, z: float) -> float:
        return k * (1 - 1 / (9 * k) + z / (3 * math.sqrt(k))) ** 3 if k > 0 else 0.0

    return bound(n, -1.96) / months, bound(n + 1, 1.96) / months


def criteria(report: Report) -> list[Criterion]:
    """The acceptance table."""
    out: list[Criterion] = []
    for name in simulate.NULL_CLASSES:
        n, months = _pooled(report, name)
        must = {"plain": 0.2, "drift": 2.0, "promotion_end": 2.0}.get(name, 1.0)
        out.append(
            Criterion(
                f"false alarms a series-month, {name}",
                n / max(months, 1e-9),
                must,
                0.5 if name != "plain" else 0.2,
            )
        )
    big = [(len(r.false) / r.months, c, lev) for (c, lev), r in report.nulls.items() if r.months >= 10]
    if big:
        worst = max(big)
        out.append(
            Criterion(
                "worst null class at one traffic level",
                worst[0],
                1.5,
                1.0,
                note=f"{worst[1]} at {worst[2]:g} a minute",
            )
        )
    for level in (1.0, 10.0):
        for drop in (0.3, 0.5, 1.0):
            for name in ("clean", "real"):
                r = report.drops.get((name, level, drop))
                if r is None:
                    continue
                must = 1.6 if name == "clean" or drop > 0.3 else 2.0
                stretch = 1.5 if name == "real" and drop == 0.3 else 1.3
                limit = limit_minutes(level, drop)
                note = f"{r.median:g} min, limit {limit:.1f}"
                out.append(
                    Criterion(
                        f"{name}, {level:g} a minute, −{drop:.0%}: median delay ÷ limit",
                        r.median / limit,
                        must,
                        stretch,
                        note=note,
                    )
                )
    for drop, must, stretch in ((0.15, 90, 45), (0.3, 10, 5), (1.0, 1, 1)):
        r = report.drops.get(("real", 150.0, drop))
        if r is not None:
            out.append(Criterion(f"real, 150 a minute, −{drop:.0%}: median minutes", r.median, must, stretch))
    total = [
        x
        for (c, lev, d), r in report.drops.items()
        if d == 1.0 and c in ("clean", "real", "outage") and lev >= 1
        for x in r.recoveries
    ]
    if total:
        out.append(
            Criterion(
                "recovery after total loss, median minutes (≥ 1 a minute)", float(np.median(total)), 10, 5
            )
        )
    within = [
        r
        for (c, _, _), r in report.drops.items()
        if c in ("clean", "real", "noisy", "flapping", "outage", "ramp")
    ]
    found = sum(len(r.recoveries) for r in within)
    if found:
        out.append(
            Criterion(
                "repeat alerts within one drop, share of drops",
                sum(r.repeats for r in within) / found,
                0.15,
                0.05,
            )
        )
    named = [x for (c, _, _), r in report.drops.items() if c == "one_segment" for x in r.segments]
    if named:
        out.append(Criterion("right segment named", float(np.mean(named)), 0.9, 0.97, at_least=True))
    kinds = [
        x
        for (c, lev, _), r in report.drops.items()
        if lev >= 1 and c in ("clean", "real", "outage")
        for x in r.kinds
    ]
    if kinds:
        out.append(Criterion("right kind (≥ 1 a minute)", float(np.mean(kinds)), 0.9, 0.97, at_least=True))
    for drop, r in report.noon.items():
        bound = 30 if drop == 0.25 else 10
        out.append(
            Criterion(
                f"750 visitors a minute at 4 %, noon, −{drop:.0%}: median minutes", r.median, bound, bound / 2
            )
        )
    if report.noon:
        held = [x for r in report.noon.values() for x in r.held]
        missed = [math.isinf(x) for r in report.noon.values() for x in r.delays]
        out.append(
            Criterion("… firing until repaired, share", float(np.mean(held)), 0.9, 0.97, at_least=True)
        )
        out.append(Criterion("… missed, share", float(np.mean(missed)), 0.05, 0.01))
    if not math.isnan(report.cost_us):
        out.append(
            Criterion("microseconds of CPU a series and minute, 10,000 series", report.cost_us, 1.0, 0.3)
        )
    return out


def markdown(report: Report) -> str:
    """The measured section of the documentation."""
    months = sum(r.months for r in report.nulls.values())
    lines = [
        f"Seed {report.seed}, {months:.0f} series-months without a drop, "
        f"{sum(r.drops for r in report.drops.values())} planted drops, {report.seconds:.0f} s on one core. "
        "Budget: 0.5 false alarms a series-month, the default. A missed drop counts as an infinite delay.",
        "", "| criterion | measured | must | stretch | |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for c in criteria(report):
        sign = "≥" if c.at_least else "≤"
        tail = f" ({c.note})" if c.note else ""
        lines.append(
            f"| {c.what} | {c.value:.2f}{tail} | {sign} {c.must:g} | {sign} {c.stretch:g} | {c.verdict} |"
        )
    lines += [
        "",
        "False alarms a series-month (95 % interval), pooled, then by expected conversions a minute:",
        "",
    ]
    levels = list(simulate.TRAFFIC)
    lines += [
        "| null class | pooled | " + " | ".join(f"{lev:g}" for lev in levels) + " |",
        "|---|---|" + "---|" * len(levels),
    ]
    for name in simulate.NULL_CLASSES:
        n, m = _pooled(report, name)
        if not m:
            lines.append(f"| {name} | left out, time was up |" + " |" * len(levels))
            continue
        low, high = interval(n, m)
        cells = []
        for lev in levels:
            r = report.nulls.get((name, lev))
            cells.append(f"{len(r.false) / r.months:.2f}" if r else "–")
        lines.append(f"| {name} | {n / m:.2f} ({low:.2f}–{high:.2f}) | " + " | ".join(cells) + " |")
    lines += [
        "", "Drops: delays in minutes; ratio to the limit (one false alarm a month, baseline and drop known).", "",
        "| class | conversions/min | drop | n | median | ÷ limit | p90 | missed | onset error | false/month |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for (name, level, drop), r in report.drops.items():
        if not r.drops:
            lines.append(f"| {name} | {level:g} | – | 0 | | | | | | {r.false / r.months:.2f} |")
            continue
        ratio = r.median / limit_minutes(level, drop)
        missed = float(np.mean(np.isinf(r.delays)))
        onset = f"{np.median(r.onset_errors):+.0f}" if r.onset_errors else ""
        lines.append(
            f"| {name} | {level:g} | {drop:.0%} | {r.drops} | {_minutes(r.median)} | {_minutes(ratio)} | {_minutes(r.p90)} "
            f"| {missed:.0%} | {onset} | {r.false / r.months:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _minutes(x: float) -> str:
    return "∞" if math.isinf(x) else f"{x:.2f}" if x < 10 else f"{x:.0f}"
