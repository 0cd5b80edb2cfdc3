"""What commands that read files of events share: options for mapping rows, bad rows and progress on the screen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from streams.mapping import Mapper, field_fault
from streams.rows import MAX_BAD_KEPT, Bad
from streams.sources import Source

FileFormat = Literal["auto", "csv", "jsonl"]


class Pairs(click.ParamType):
    """`field=rest`, the field being one of the event's."""

    def __init__(self, shown: str) -> None:
        self.name = shown

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """As it is written."""
        return self.name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The two sides."""
        name, equals, rest = str(value).partition("=")
        if not equals or not name or not rest:
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        if (fault := field_fault(name)) is not None:
            self.fail(fault, param, ctx)
        return name, rest


class Renames(Pairs):
    """`field=theirs:ours`."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The field, and `theirs:ours`."""
        name, rest = super().convert(value, param, ctx)
        theirs, colon, ours = rest.partition(":")
        if not colon or not theirs or not ours:
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        return name, rest


def mapping_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--map`, `--rename`, `--const` and `--format`: parameters `columns`, `renames`, `constants`, `file_format`."""
    for option in (
        click.option("--format", "file_format", type=click.Choice(["auto", "csv", "jsonl"]), default="auto"),
        click.option(
            "--const", "constants", type=Pairs("FIELD=VALUE"), multiple=True, help="A value for all rows."
        ),
        click.option(
            "--rename",
            "renames",
            type=Renames("FIELD=THEIRS:OURS"),
            multiple=True,
            help="A value that is called otherwise there.",
        ),
        click.option(
            "--map", "columns", type=Pairs("FIELD=COLUMN"), multiple=True, help="Where a field stands."
        ),
    ):
        command = option(command)
    return command


def mapper_of(
    columns: Iterable[tuple[str, str]],
    renames: Iterable[tuple[str, str]],
    constants: Iterable[tuple[str, str]],
) -> Mapper:
    """How rows become events, from the options' values."""
    return Mapper(_once(columns, "--map"), _nested(renames), _once(constants, "--const"))


def _once(pairs: Iterable[tuple[str, str]], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            msg = f"{option} {name} is there twice: {found[name]!r} and {value!r}"
            raise click.UsageError(msg)
        found[name] = value
    return found


def _nested(renames: Iterable[tuple[str, str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, rest in renames:
        theirs, _, ours = rest.partition(":")
        found.setdefault(name, {})[theirs] = ours
    return found


def source_of(name: str, file_format: FileFormat) -> Source:
    """The file of that name; `-` is the standard input."""
    return Source(name, None if name == "-" else Path(name), None if file_format == "auto" else file_format)


class Screen:
    """What is shown while it runs: bad rows and notes on stderr, a progress bar if that is a terminal."""

    def __init__(self, sources: Sequence[Source], doing: str, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bad = 0
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
        sizes = [s.path.stat().st_size if s.path is not None else None for s in sources]
        total = None if None in sizes else sum(size for size in sizes if size is not None)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(doing, total=total)

    def __enter__(self) -> Screen:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._bad > MAX_BAD_KEPT and not self._quiet:
            self.say(f"… and {self._bad - MAX_BAD_KEPT:,} more bad rows")

    def say(self, text: str) -> None:
        """One line on stderr, above the bar."""
        self._console.print(text, markup=False)

    def bad(self, row: Bad) -> None:
        """Reports a bad row; after many of them only counts."""
        self._bad += 1
        if self._bad <= MAX_BAD_KEPT and not self._quiet:
            self.say(f"{row.file}:{row.line}: {row.reason}")

    def progress(self, done: int) -> None:
        """Moves the bar to this many bytes."""
        self._bar.update(self._task, completed=done)
