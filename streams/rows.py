"""Rows of CSV and JSON lines files with their line numbers; a row that cannot be read is data too.

Files are read as bytes, line by line: whatever stands in one row, the next is read as if nothing had been.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import BinaryIO, Literal

import msgspec

#: Lines that one CSV row may span (quoted cells may hold line ends): a stray quote costs one row, no more.
MAX_LINES_OF_A_ROW = 20
#: Bytes of one CSV cell that are read; the csv module's own limit is half of what an event may have.
MAX_CELL_BYTES = 1 << 20
#: Characters that may separate the cells; the most frequent one in the header is taken.
DELIMITERS = ",;\t|"
#: Bad rows that are kept for a report; the others are only counted.
MAX_BAD_KEPT = 1_000

Format = Literal["csv", "jsonl"]
_decode_json = msgspec.json.Decoder(float_hook=Decimal).decode


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file.

    Attributes:
        line: Number of its first line, from 1.
        raw: Its bytes as they stand in the file, without the line end.
        cells: Column to value: text in CSV (empty cells are left out), any JSON in JSON lines.
        fault: Why it could not be read; `cells` is empty then.
        end: Bytes of the file up to and including it.
    """

    line: int
    raw: bytes
    cells: dict[str, object]
    fault: str | None
    end: int


@dataclass(frozen=True)
class Bad:
    """A row that could not be mapped, counted or delivered."""

    file: str
    line: int
    reason: str


def guess_format(name: str, first: bytes) -> Format:
    """Format by the file's name, or else by its first line."""
    suffix = name.lower().rpartition(".")[2]
    if suffix in ("jsonl", "ndjson", "json"):
        return "jsonl"
    if suffix in ("csv", "tsv"):
        return "csv"
    return "jsonl" if first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "csv"


def read_header(line: bytes) -> tuple[list[str], str]:
    """Column names and the separator of a CSV file, from its first line.

    Raises:
        ValueError: It is empty, or not UTF-8; says so.
    """
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        msg = "the header is not UTF-8"
        raise ValueError(msg) from error
    if not text.strip():
        msg = "there is no header with column names"
        raise ValueError(msg)
    delimiter = max(DELIMITERS, key=text.count)
    return next(csv.reader([text], delimiter=delimiter)), delimiter


def read_csv(file: BinaryIO) -> Iterator[Row]:
    """All rows after the header; raises ValueError for a header that cannot be read."""
    csv.field_size_limit(MAX_CELL_BYTES)
    lines = _Lines(file)
    first = lines.take()
    if first is None:
        return
    columns, delimiter = read_header(first)
    while (start := lines.take()) is not None:
        number, raw = lines.number, start.rstrip(b"\r\n")
        if not raw.strip():
            continue
        cells = _parse(raw, delimiter)
        if cells is None:  # a quote is open: the row may go on in the next lines
            raw, cells = _over_several_lines(lines, start, delimiter, len(columns))
        if isinstance(cells, str):
            yield Row(number, raw, {}, cells, lines.end)
        elif len(cells) != len(columns):
            count = f"{len(cells)} column{'s' if len(cells) != 1 else ''}, the header has {len(columns)}"
            yield Row(number, raw, {}, count, lines.end)
        else:
            found = {c: v for c, v in zip(columns, cells, strict=True) if v and not v.isspace()}
            yield Row(number, raw, dict(found), None, lines.end)


def read_json_lines(file: BinaryIO) -> Iterator[Row]:
    """All rows that are not blank."""
    lines = _Lines(file)
    while (line := lines.take()) is not None:
        raw = (
            line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n") if lines.number == 1 else line.rstrip(b"\r\n")
        )
        if not raw.strip():
            continue
        cells: dict[str, object] = {}
        fault = None
        try:
            value = _decode_json(raw)
            if isinstance(value, dict):
                cells = value
            else:
                fault = "not a JSON object"
        except UnicodeDecodeError:
            fault = "not UTF-8"
        except RecursionError:
            fault = "nested too deeply"
        except ValueError as error:
            fault = f"not JSON: {error}"
        yield Row(lines.number, raw, cells, fault, lines.end)


class _Lines:
    """Lines of a file with their numbers, and the way back to lines that were taken in vain."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._returned: list[bytes] = []
        self.number = 0
        self.end = 0

    def take(self) -> bytes | None:
        line = self._returned.pop() if self._returned else self._file.readline()
        if not line:
            return None
        self.number += 1
        self.end += len(line)
        return line

    def give_back(self, lines: list[bytes]) -> None:
        self._returned.extend(reversed(lines))
        self.number -= len(lines)
        self.end -= sum(map(len, lines))


def _parse(raw: bytes, delimiter: str) -> list[str] | str | None:
    """Cells of one row; text = why it cannot be read; None = a quoted cell is still open."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return "not UTF-8"
    if '"' not in text:
        return text.split(delimiter)
    try:
        try:
            return next(csv.reader([text], delimiter=delimiter, strict=True))
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                return None
            # A quote inside a cell that is not doubled, `"5" pipe"`: what follows it belongs to the cell.
            return next(csv.reader([text], delimiter=delimiter))
    except csv.Error as error:
        return str(error)


def _over_several_lines(
    lines: _Lines, start: bytes, delimiter: str, columns: int
) -> tuple[bytes, list[str] | str]:
    """Bytes and cells of a row whose first line ends inside quotes.

    If no further lines complete it to the right number of columns, only its first line is the bad row; the
    others are given back, to be rows of their own.
    """
    taken: list[bytes] = []
    while len(taken) < MAX_LINES_OF_A_ROW and (more := lines.take()) is not None:
        taken.append(more)
        raw = (start + b"".join(taken)).rstrip(b"\r\n")
        cells = _parse_joined(raw, delimiter)
        if cells is not None:
            if len(cells) == columns:
                return raw, cells
            break
    lines.give_back(taken)
    return start.rstrip(b"\r\n"), "a quote is opened and not closed"


def _parse_joined(raw: bytes, delimiter: str) -> list[str] | None:
    try:
        rows = list(csv.reader(raw.decode().splitlines(keepends=True), delimiter=delimiter, strict=True))
    except (csv.Error, UnicodeDecodeError):
        return None
    return rows[0] if len(rows) == 1 else None
