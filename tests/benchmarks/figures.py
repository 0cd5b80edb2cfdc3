"""A measured figure, its bounds, the table of all of them, and docs/benchmarks.md."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        what: What was measured.
        value: The result; None if it is told for information only (`text` says it).
        unit: Of the value; "÷ bare" is a ratio to the bare loop of the same run.
        must: The bound; None = there is none.
        aim: What we would like.
        most: Whether the value must be at most the bound (else at least).
        text: The value in words, where a number alone would not do; and whatever belongs to it.
    """

    what: str
    value: float | None
    unit: str = ""
    must: float | None = None
    aim: float | None = None
    most: bool = False
    text: str = ""

    def meets(self, bound: float) -> bool:
        assert self.value is not None
        return self.value <= bound if self.most else self.value >= bound

    @property
    def verdict(self) -> str:
        if self.value is None or self.must is None:
            return ""
        if self.aim is not None and self.meets(self.aim):
            return "PASS, aim met"
        return "PASS" if self.meets(self.must) else "FAIL"

    @property
    def measured(self) -> str:
        number = "" if self.value is None else f"{_number(self.value)} {self.unit}".strip()
        return " · ".join(part for part in (number, self.text) if part)

    def bound(self, bound: float | None) -> str:
        return "" if bound is None else f"{'≤' if self.most else '≥'} {_number(bound)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(figures: Sequence[Figure]) -> list[list[str]]:
    """Header and lines."""
    rows = [[f.what, f.measured, f.bound(f.must), f.bound(f.aim), f.verdict] for f in figures]
    return [["what", "measured", "must", "aim", "verdict"], *rows]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """For a terminal."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """For a document."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def machine() -> str:
    """Cores, processor, memory, system, Python."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"
