"""`backtest`: minute series from a file through the same detectors as live."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from monitor.detection.config import DetectionConfig
from streams import backtest
from streams.errors import MonitorError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_HEADINGS = {
    "days": "days", "conversions_per_hour": "conv/h", "alerts": "alerts", "other_alerts": "other", "drops": "drops",
    "found": "found", "median_delay_minutes": "median delay, min", "false_alarms_per_month": "false/month",
    "10_minutes": "within 10 min", "1_hour": "within 1 h", "1_day": "within 1 day",
}  # fmt: skip


@click.command("backtest")
@click.option(
    "--series",
    "series_file",
    type=_FILE,
    help="CSV, one row per minute and series: ts, series, visitors, conversions.",
)
@click.option("--events", "events_file", type=_FILE, hidden=True)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write alert records as JSON lines."
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw rate, expectation, limits and alerts (SVG).",
)
@click.option(
    "--truth", type=_FILE, help="CSV of true drops (series, start, end, drop): adds delays and false alarms."
)
@click.option(
    "--false-alarms-per-series-month", type=click.FloatRange(0.001, 100), default=0.5, show_default=True,
    help="How many false alarms a series may raise in a month.",
)  # fmt: skip
@click.option(
    "--limits",
    is_flag=True,
    help="Show the smallest drop that can be seen within 10 minutes, an hour and a day.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    series_file: Path | None, events_file: Path | None, out: Path | None, plot: Path | None, truth: Path | None,
    false_alarms_per_series_month: float, limits: bool, as_json: bool,
) -> None:  # fmt: skip
    r"""Run minute series from a file through the detectors.

    \b
    Columns of the file: ts (epoch seconds), series, visitors, conversions;
    optional goal, and group + segment: series of one group are the values
    of one dimension and add up to a whole.
    """
    if events_file is not None:
        msg = "--events cannot be read yet"
        raise MonitorError(msg, remedy="count visitors and conversions per minute and use --series")
    if series_file is None:
        msg = "Missing option '--series'."
        raise click.UsageError(msg)
    data = backtest.read_series(series_file)
    known = backtest.read_truth(truth) if truth is not None else None
    for t in known or []:
        if t.series not in data.names:
            msg = f"{truth}: there is no series {t.series!r} in {series_file}"
            raise MonitorError(msg, remedy=f"series are: {', '.join(data.names[:8])}")
    config = DetectionConfig(false_alarms_per_series_month=false_alarms_per_series_month)
    if sys.stderr.isatty():
        with click.progressbar(length=len(data.visitors), label="minutes", file=sys.stderr) as bar:
            result = backtest.run(data, config, bar.update)
    else:
        result = backtest.run(data, config)
    if out is not None:
        out.write_text(
            "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in result.records), encoding="utf-8"
        )
    if plot is not None:
        from streams.backtest_plot import plot as draw  # noqa: PLC0415 - matplotlib is an extra and slow to import

        draw(data, result, plot)
    rows = backtest.limits(data, result, config) if limits else backtest.table(data, result, known)
    if as_json:
        click.echo(
            json.dumps(
                {"series": rows, "alerts": result.records, "notes": data.notes}, ensure_ascii=False, indent=1
            )
        )
        return
    click.echo(_aligned(rows, percent=limits))
    for record in result.records if not limits else []:
        if record["state"] in ("firing", "resolved"):
            click.echo(f"{record['state']:<9} {record['series']}: {record['summary']}")
    for note in data.notes:
        click.echo(f"note: {note}", err=True)


def _aligned(rows: list[dict[str, Any]], *, percent: bool) -> str:
    """A table: words to the left, numbers to the right."""
    columns = list(rows[0])
    lines = [[_HEADINGS.get(c, c) for c in columns]]
    for row in rows:
        cells = []
        for c in columns:
            v = row[c]
            if percent and c in ("10_minutes", "1_hour", "1_day"):
                cells.append("–" if v is None else f"{100 * v:.0f} %")
            else:
                cells.append("–" if v is None else str(v))
        lines.append(cells)
    width = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    words = [isinstance(rows[0][c], str) for c in columns]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if word else cell.rjust(w) for cell, w, word in zip(line, width, words, strict=True)
        ).rstrip()
        for line in lines
    )
