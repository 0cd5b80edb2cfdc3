"""The picture and the tables of docs/detection.md that are computed, not measured: `python -m tests.detection.picture`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from monitor.detection.config import MONTH_MINUTES, DetectionConfig, SeriesKey
from monitor.detection.limits import smallest_drop
from streams import backtest, backtest_plot

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- limits:begin -->", "<!-- limits:end -->"


def example() -> backtest.MinuteSeries:
    """Nine days of a shop with 600 conversions an hour; the last evening has an outage of 40 %, for three hours."""
    rng = np.random.default_rng(20)
    day = 1440
    minute = np.arange(9 * day)
    hour = (minute % day) / 60
    evening, noon = np.exp(-0.5 * ((hour - 19) / 3.5) ** 2), np.exp(-0.5 * ((hour - 11) / 3) ** 2)
    n = rng.poisson(300 * (0.35 + 1.2 * evening + 0.5 * noon))
    share = np.ones(len(minute))
    share[8 * day + 1020 : 8 * day + 1200] = 0.6
    x = rng.poisson(n * (0.033 + 0.004 * np.cos(2 * np.pi * (hour - 21) / 24)) * share)
    first = 28_800_000 // day * day
    counts = n[:, None].astype(float), x[:, None].astype(float)
    return backtest.MinuteSeries(first, *counts, [SeriesKey("purchase")], ["shop"])


def main() -> None:
    """Write docs/img/detection-drop.svg and the table of docs/detection.md."""
    series = example()
    result = backtest.run(series, DetectionConfig())
    for r in result.records:
        print(r["state"], r["summary"])
    last = 7 * 1440 + 720
    cut = backtest.MinuteSeries(
        series.first + last, series.visitors[last:], series.conversions[last:], series.keys, ["shop"]
    )
    shown = [{**r, "series": "shop"} for r in result.records]
    part = backtest.Result(shown, result.expected[last:], result.spread[last:], result.detector)
    backtest_plot.plot(cut, part, ROOT / "docs" / "img" / "detection-drop.svg")
    lines = [
        "| conversions an hour | within 10 minutes | within 1 hour | within 1 day |",
        "|---|---|---|---|",
    ]
    for per_hour in (3, 10, 30, 60, 200, 600, 2000, 9000):
        cells = []
        for minutes in (10, 60, 1440):
            drop = smallest_drop(per_hour / 60, minutes, 2 * MONTH_MINUTES)
            cells.append(
                "–" if drop is None else "total loss" if drop >= 0.97 else f"−{drop:.0%}".replace("%", " %")
            )
        lines.append(f"| {per_hour:,} | " + " | ".join(cells) + " |")
    path = ROOT / "docs" / "detection.md"
    page = path.read_text(encoding="utf-8")
    table = "\n".join(lines)
    page = re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{table}\n{END}", page, flags=re.DOTALL)
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
