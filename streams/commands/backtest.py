"""`backtest`: minute series or events from files through the same detectors as live."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from monitor.detection.config import DetectionConfig
from streams import backtest
from streams.backtest import MinuteSeries, Result, Truth
from streams.errors import MonitorError
from streams.event_files import FileFormat, Screen, mapper_of, mapping_options, source_of
from streams.mapping import Mapper
from streams.sources import Source, check_headers

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_HEADINGS = {
    "days": "days", "conversions_per_hour": "conv/h", "alerts": "alerts", "other_alerts": "other", "drops": "drops",
    "found": "found", "median_delay_minutes": "median delay, min", "false_alarms_per_month": "false/month",
    "10_minutes": "within 10 min", "1_hour": "within 1 h", "1_day": "within 1 day",
}  # fmt: skip


_EPILOG = """\b
Columns of --series:
  ts (epoch seconds), series, visitors, conversions; optional goal, and group + segment: series of
  one group are the values of one dimension and add up to a whole.
\b
Files of --events:
  JSON lines that are events, or CSV or other JSON mapped to events as by `publish`. Rows are counted
  in the order of the file, by the goals and dimensions of --config, as a worker would; only event
  times move time. A row that is no event is reported with its line and left out, and so are
  events that come later than allowed_lateness.
\b
Examples:
  conversion-monitor backtest --series minutes.csv --plot minutes.svg
  conversion-monitor backtest --events events.jsonl --config monitor.yaml --out alerts.jsonl
\b
  # A month of a real shop (REES46, "eCommerce behavior data"):
  conversion-monitor backtest --events 2019-Oct.csv --config monitor.yaml \\
    --map timestamp=event_time --map event=event_type --map visitor_id=user_id \\
    --map session_id=user_session --map value=price --map properties.brand=brand \\
    --rename event=view:page_view --rename event=cart:add_to_cart
"""
_BUDGET = "false_alarms_per_series_month"


@click.command("backtest", epilog=_EPILOG)
@click.option(
    "--series",
    "series_file",
    type=_FILE,
    help="CSV, one row per minute and series: ts, series, visitors, conversions.",
)
@click.option(
    "--events",
    "events_files",
    metavar="FILE",
    multiple=True,
    help="Events, JSON lines or CSV; - is the standard input. Several files: in the order of time.",
)
@click.option("--config", type=_FILE, help="With --events: goals, dimensions and detection.")
@mapping_options
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
    help="How many false alarms a series may raise in a month; with --events the config says it by default.",
)  # fmt: skip
@click.option(
    "--limits",
    is_flag=True,
    help="Show the smallest drop that can be seen within 10 minutes, an hour and a day.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def command(
    ctx: click.Context, *, series_file: Path | None, events_files: tuple[str, ...], config: Path | None,
    columns: tuple[tuple[str, str], ...], renames: tuple[tuple[str, str], ...],
    constants: tuple[tuple[str, str], ...], file_format: FileFormat, out: Path | None, plot: Path | None,
    truth: Path | None, false_alarms_per_series_month: float, limits: bool, as_json: bool,
) -> None:  # fmt: skip
    """Run your own history, minute series or events, through the detectors."""
    if (series_file is None) == (not events_files):
        msg = "Give one of --series and --events."
        raise click.UsageError(msg)
    if series_file is not None and (config or columns or renames or constants or file_format != "auto"):
        msg = "--config, --map, --rename, --const and --format go with --events."
        raise click.UsageError(msg)
    known = backtest.read_truth(truth) if truth is not None else None
    tally: dict[str, Any] = {}
    if series_file is not None:
        data = backtest.read_series(series_file)
        _check_truth(truth, known, data)
        wanted = DetectionConfig(false_alarms_per_series_month=false_alarms_per_series_month)
        result = _run_series(data, wanted)
    else:
        if config is None:
            msg = "--events needs --config: a file with goals, and dimensions if you like."
            raise click.UsageError(msg)
        default = ctx.get_parameter_source(_BUDGET) is ParameterSource.DEFAULT
        budget = None if default else false_alarms_per_series_month
        mapper = mapper_of(columns, renames, constants)
        data, result, tally, wanted = _run_events(
            [source_of(name, file_format) for name in events_files], config, mapper, budget, quiet=as_json
        )
        _check_truth(truth, known, data)
    if out is not None:
        out.write_text(
            "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in result.records), encoding="utf-8"
        )
    if plot is not None:
        from streams.backtest_plot import plot as draw  # noqa: PLC0415 - matplotlib is an extra and slow to import

        draw(data, result, plot)
    rows = backtest.limits(data, result, wanted) if limits else backtest.table(data, result, known)
    if as_json:
        more = {"events": tally} if tally else {}
        told = {"series": rows, "alerts": result.records, "notes": data.notes, **more}
        click.echo(json.dumps(told, ensure_ascii=False, indent=1))
        return
    click.echo(_aligned(rows, percent=limits))
    for record in result.records if not limits else []:
        if record["state"] in ("firing", "resolved"):
            click.echo(f"{record['state']:<9} {record['series']}: {record['summary']}")
    for note in data.notes:
        click.echo(f"note: {note}", err=True)


def _check_truth(path: Path | None, known: list[Truth] | None, data: MinuteSeries) -> None:
    for t in known or []:
        if t.series not in data.names:
            msg = f"{path}: there is no series {t.series!r} in the data"
            raise MonitorError(msg, remedy=f"series are: {', '.join(dict.fromkeys(data.names[:8]))}")


def _run_series(data: MinuteSeries, wanted: DetectionConfig) -> Result:
    if not sys.stderr.isatty():
        return backtest.run(data, wanted)
    with click.progressbar(length=len(data.visitors), label="minutes", file=sys.stderr) as bar:
        return backtest.run(data, wanted, bar.update)


def _run_events(
    sources: Sequence[Source], config: Path, mapper: Mapper, budget: float | None, *, quiet: bool
) -> tuple[MinuteSeries, Result, dict[str, Any], DetectionConfig]:
    """Replay files of events; `budget`: false alarms a series and month, None: what the config says."""
    from streams.backtest_events import Replay  # noqa: PLC0415 - parts of a worker, slow to import
    from streams.settings import load_settings  # noqa: PLC0415
    from streams.watcher import config_of  # noqa: PLC0415

    settings = load_settings(config, os.environ)
    wanted = config_of(settings)
    if budget is not None:
        wanted = replace(wanted, false_alarms_per_month=None, false_alarms_per_series_month=budget)
    check_headers(sources, mapper)
    with Screen(sources, "counting", quiet=quiet) as screen:
        replay = Replay(settings, mapper, wanted, screen.bad, screen.progress)
        data, result = replay.run(sources)
    return data, result, replay.tally.as_dict(), wanted


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
