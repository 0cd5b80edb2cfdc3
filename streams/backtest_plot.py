"""The picture of a backtest: rate, expectation, limits and alerts over time, as SVG."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.backtest import RATE_KINDS, MinuteSeries, Result
from streams.errors import MonitorError

Array = NDArray[np.float64]

#: At most so many series are drawn, those with alerts first.
MOST_SERIES = 12
#: Conversions that a point of the drawn rate should stand on, and the points at most.
POINT_CONVERSIONS, MOST_POINTS = 40.0, 1500
#: Colours (colour-blind safe).
RATE, EXPECTED, BAND, ALERT, OTHER = "#0b5394", "#444444", "#c9d7e8", "#c0392b", "#b7950b"


def plot(series: MinuteSeries, result: Result, path: Path) -> None:
    """Draw up to `MOST_SERIES` series, one above the other.

    Raises:
        MonitorError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra, needed for pictures only
        from matplotlib import dates  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        msg = "--plot needs matplotlib, which is not installed"
        raise MonitorError(msg, remedy="pip install 'conversion-monitor[plot]'") from error
    alerted = {(r["series"], r["goal"]) for r in result.records}
    named = [(name, key.goal) for name, key in zip(series.names, series.keys, strict=True)]
    order = sorted(range(len(named)), key=lambda c: (named[c] not in alerted, c))[:MOST_SERIES]
    with mpl.rc_context({"svg.hashsalt": "conversion-monitor", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(10, 0.6 + 2.4 * len(order)), layout="constrained")
        axes = figure.subplots(len(order), 1, squeeze=False)[:, 0]
        for axis, c in zip(axes, order, strict=True):
            _draw(axis, series, result, c)
            locator = dates.AutoDateLocator()  # type: ignore[no-untyped-call]
            axis.xaxis.set_major_locator(locator)
            axis.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        axes[0].legend(loc="upper right", ncols=4, frameon=False, fontsize=8)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw(axis: Any, series: MinuteSeries, result: Result, c: int) -> None:
    n, x = series.visitors[:, c], series.conversions[:, c]
    known = ~np.isnan(n)
    per_minute = x[known].sum() / max(int(known.sum()), 1)
    width = int(max(1, np.ceil(POINT_CONVERSIONS / max(per_minute, 1e-6)), len(n) // MOST_POINTS))
    width = min(width, max(len(n) // 20, 1))
    count = max(len(n) // width, 1)
    cut = count * width
    seen = np.nan_to_num(n[:cut]).reshape(count, -1).sum(1)
    bought = np.where(known[:cut], x[:cut], 0.0).reshape(count, -1).sum(1)
    rate = np.where(seen > 0, bought / np.maximum(seen, 1e-9), np.nan)
    expected = result.expected[:cut, c].reshape(count, -1)[:, -1]
    spread = result.spread[:cut, c].reshape(count, -1)[:, -1]
    sd = np.sqrt(spread**2 + 1 / np.maximum(expected * seen, 1e-9))
    times = np.array(
        [datetime.fromtimestamp((series.first + (k + 0.5) * width) * 60, UTC) for k in range(count)]
    )
    top = float(np.nanquantile(rate, 0.995)) * 1.35 if np.isfinite(rate).any() else 1.0
    low, high = np.maximum(expected * (1 - 2 * sd), 0), expected * (1 + 2 * sd)
    axis.fill_between(times, 100 * low, 100 * high, color=BAND, lw=0, label="normal (2 sd)")
    axis.plot(times, 100 * expected, color=EXPECTED, lw=1, ls="--", label="expected")
    axis.plot(times, 100 * rate, color=RATE, lw=1, label=f"rate ({width} min)")
    mine = (series.names[c], series.keys[c].goal)
    last = {r["alert_id"]: r for r in result.records if (r["series"], r["goal"]) == mine}
    end = (series.first + len(n)) * 60
    labelled = False
    for r in last.values():
        colour = ALERT if r["kind"] in RATE_KINDS else OTHER
        begin = datetime.fromtimestamp(r["onset_at"], UTC)
        until = datetime.fromtimestamp(r["resolved_at"] or end, UTC)
        axis.axvspan(begin, until, color=colour, alpha=0.18, lw=0, label=None if labelled else "alert")
        axis.axvline(datetime.fromtimestamp(r["raised_at"], UTC), color=colour, lw=1)
        labelled = True
    axis.set_ylim(0, max(100 * top, 1e-6))
    axis.set_ylabel("rate, %")
    axis.set_title(f"{series.names[c]} · {series.keys[c].goal}", loc="left", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
