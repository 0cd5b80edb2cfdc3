"""The view of the live page, drawn for a terminal: what converts, whether that is normal, what broke."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

#: Level (see `monitor/live/judgement.py`) to sign and colour; the sign alone says it too.
LEVELS = {"bad": ("▼", "red"), "warn": ("!", "yellow"), "ok": ("✓", "green"), "unknown": ("?", "cyan")}

#: Characters of the line that shows the last hour.
SPARK_WIDTH = 20

_BARS = "▁▂▃▄▅▆▇█"

#: Lines that all but the segments and alerts take.
_FIXED_LINES = 15


def draw(
    view: Mapping[str, Any],
    *,
    goal: str | None = None,
    history: Mapping[str, Any] | None = None,
    width: int = 120,
    height: int = 40,
    note: str = "",
) -> RenderableType:
    """The whole screen.

    Args:
        view: As `/api/v1/live` answers it.
        goal: Goal whose segments are shown; None: one that is bad, else the first.
        history: As `/api/v1/history` answers it.
        width: Columns there are; what does not fit is left out.
        height: Lines there are; segments are left out to fit.
        note: What to say about the connection, in the first line.
    """
    shown = _chosen(view["goals"], goal)
    active = [alert for alert in view["alerts"] if alert["active"]]
    room = height - _FIXED_LINES - len(view["goals"]) - 2 * len(active)
    parts: list[RenderableType] = [
        _top_line(view, note),
        _banner(view["headline"]),
        _goals(view, history, width),
    ]
    if shown is not None and shown["segments"]:
        parts.append(_segments(view, shown, max(3, room)))
    parts += [_alert(alert) for alert in active[1:4]]
    return Group(*parts)


def percent(ratio: float | None) -> str:
    """0.0358 → `3.58 %`: two decimals, one from 10 % on, three below 0.1 %; a dash for no rate."""
    if ratio is None:
        return "–"
    value = ratio * 100
    return f"{value:.{1 if value >= 10 else 3 if 0 < value < 0.1 else 2}f} %"


def sparkline(values: Sequence[float | None], width: int = SPARK_WIDTH) -> str:
    """The course of a rate from 0 to its highest, newest right; a gap where there was none."""
    if not values:
        return ""
    cells = [_mean(values[k * len(values) // width : (k + 1) * len(values) // width]) for k in range(width)]
    if len(values) < width:
        cells = list(values)
    top = max((v for v in cells if v is not None), default=0.0)
    return "".join(
        " " if v is None else _BARS[0] if not top else _BARS[round(v / top * (len(_BARS) - 1))] for v in cells
    )


def printable(text: object) -> str:
    """Text from events without characters that would steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def _chosen(goals: Sequence[Mapping[str, Any]], name: str | None) -> Mapping[str, Any] | None:
    named = [goal for goal in goals if goal["name"] == name]
    bad = [goal for goal in goals if goal["level"] == "bad"]
    return next(iter((*named, *bad, *goals)), None)


def _top_line(view: Mapping[str, Any], note: str) -> Text:
    line = Text()
    line.append("Conversion monitor", style="bold")
    line.append(f"   last {view['window']}   {view['visitors']:,} visitors   {view['sessions']:,} sessions")
    if view["as_of"] is not None:
        line.append(f"   as of {_clock(view['as_of'], seconds=True)}", style="dim")
    if note:
        line.append(f"   {note}", style="yellow")
    return line


def _banner(headline: Mapping[str, str]) -> Panel:
    sign, colour = LEVELS[headline["level"]]
    text = Text()
    text.append(f"{sign} {printable(headline['title'])}\n", style=f"bold {colour}")
    text.append(printable(headline["text"]))
    return Panel(text, border_style=colour)


def _goals(view: Mapping[str, Any], history: Mapping[str, Any] | None, width: int) -> Table:
    """One line a goal; columns that do not fit the width are left out, the least needed first."""
    columns: list[tuple[str, int, Callable[[Mapping[str, Any]], Text]]] = [
        ("Goal", 0, lambda g: Text(printable(g["title"]), style="bold" if g["kind"] == "macro" else "")),
        ("State", 0, lambda g: _status(g["level"], g["status"])),
        ("Rate", 0, lambda g: Text(percent(g["rate"]), style=f"bold {LEVELS[g['level']][1]}")),
        ("Expected", 0, lambda g: Text(percent(g["expected"]))),
        ("Conversions", 75, lambda g: Text(f"{g['conversions']:,}")),
        ("95 % sure", 92, lambda g: Text(_between(g))),
        ("Revenue", 107, lambda g: Text(_money(g["revenue"]))),
    ]
    if history is not None:
        columns.append(("Last hour", 125, lambda g: _course(history, g["name"])))
    shown = [column for column in columns if width >= column[1]]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name, _, _ in shown:
        left = name in ("Goal", "State", "Last hour")
        table.add_column(name, justify="left" if left else "right", no_wrap=True, overflow="ellipsis")
    for goal in view["goals"]:
        table.add_row(*(cell(goal) for _, _, cell in shown))
    return table


def _between(goal: Mapping[str, Any]) -> str:
    if goal["rate"] is None:
        return "–"
    return f"{percent(goal['lower'])[:-2]} to {percent(goal['upper'])}"


def _money(revenue: Mapping[str, str]) -> str:
    return " + ".join(f"{Decimal(amount):,.2f} {code}" for code, amount in revenue.items())


def _course(history: Mapping[str, Any], goal: str) -> Text:
    return Text(sparkline(history["goals"].get(goal, {}).get("rate", [])), style="blue")


def _segments(view: Mapping[str, Any], goal: Mapping[str, Any], room: int) -> RenderableType:
    title = Text(f"\n{printable(goal['title'])} by segment, who lost most first", style="bold")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("Segment")
    for name in ("Visitors", "Rate", "Expected", "Missing"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("State")
    for segment in goal["segments"][:room]:
        table.add_row(
            Text(printable(f"{segment['dimension']} {segment['value']}")),
            Text(f"{segment['visitors']:,}"),
            Text(percent(segment["rate"])),
            Text(percent(segment["expected"])),
            Text("–" if segment["missing"] is None else f"{segment['missing']:.1f}"),
            _status(segment["level"], segment["status"]),
        )
    left = len(goal["segments"]) - room + goal["more_segments"]
    return Group(title, table, *((Text(f"and {left} more", style="dim"),) if left > 0 else ()))


def _alert(alert: Mapping[str, Any]) -> Text:
    sign, colour = LEVELS.get(alert["level"], LEVELS["unknown"])
    text = Text("\n")
    text.append(f"{sign} {printable(alert['title'])}", style=f"bold {colour}")
    text.append(f" since {_clock(alert['onset_at'])}  {printable(alert.get('summary') or '')}")
    return text


def _status(level: str, words: str) -> Text:
    sign, colour = LEVELS.get(level, ("", ""))
    return Text(f"{sign} {printable(words)}".strip(), style=colour)


def _mean(values: Sequence[float | None]) -> float | None:
    seen = [v for v in values if v is not None]
    return sum(seen) / len(seen) if seen else None


def _clock(time: float, *, seconds: bool = False) -> str:
    return datetime.fromtimestamp(time).astimezone().strftime("%H:%M:%S" if seconds else "%H:%M")
