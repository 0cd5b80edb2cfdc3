"""Files and the standard input as sources of rows: checked beforehand, read in a thread beside the sender."""

from __future__ import annotations

import asyncio
import queue
import shutil
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from streams.errors import ConfigError, Problem
from streams.mapping import Mapped, Mapper
from streams.rows import Format, Row, guess_format, read_csv, read_header, read_json_lines

#: Rows that the reading thread may be ahead of the sender.
ROWS_AHEAD = 2_000
#: Pause of the sender when no row is ready, in seconds.
IDLE_S = 0.005
#: Longest file name that goes into an event id as it is.
MAX_ID_PREFIX = 100


@dataclass(frozen=True)
class Source:
    """A file to publish.

    Attributes:
        name: As it was named; `-` is the standard input.
        path: Where it is read; None = the standard input.
        format: None = by its name, or else by its first line.
    """

    name: str
    path: Path | None
    format: Format | None = None

    @property
    def id_prefix(self) -> str:
        """First part of the ids of its events: its name without the directory, the same wherever it lies."""
        name = self.path.name if self.path is not None and self.name != "-" else "stdin"
        return name if len(name) <= MAX_ID_PREFIX else sha256(name.encode()).hexdigest()[:32]

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The file, opened; of the standard input a reader of its own, which a thread may be left in."""
        if self.path is not None:
            with self.path.open("rb") as file:
                yield file
        else:
            with open(0, "rb", closefd=False) as file:
                yield file

    def rows(self, file: BinaryIO) -> Iterator[Row]:
        """Its rows."""
        first = file.peek(4096)[:4096] if hasattr(file, "peek") else b""
        return read_csv(file) if self.read_as(first) == "csv" else read_json_lines(file)

    def read_as(self, first: bytes) -> Format:
        """Its format."""
        return self.format or guess_format(self.name, first)


def check_headers(sources: Sequence[Source], mapper: Mapper) -> None:
    """Reads the headers of all CSV files before anything is sent.

    Raises:
        ConfigError: A file cannot be read, or has no column that is mapped; all of them at once.
    """
    for source in sources:
        if source.path is None:
            continue
        problems: list[Problem] = []
        try:
            with source.open() as file:
                first = file.readline()
            if not first or source.read_as(first) != "csv":
                continue
            header, _ = read_header(first)
        except OSError as error:
            problems.append(Problem(None, "FILE", f"cannot be read: {error.strerror}"))
        except ValueError as error:
            problems.append(Problem(1, "header", str(error)))
        else:
            columns = f"its columns: {', '.join(header)}"
            for name, column in mapper.missing_columns(header).items():
                problems.append(Problem(1, f"--map {name}={column}", f"no column {column!r}", columns))
        if problems:
            raise ConfigError(source.name, tuple(problems))


def latest_time(sources: Sequence[Source], mapper: Mapper) -> int | None:
    """Latest event time of all rows that can be mapped, epoch ms; None if there is none."""
    latest = None
    for source in sources:
        with source.open() as file:
            for row in source.rows(file):
                mapped = mapper.map(row)
                if isinstance(mapped, Mapped) and (latest is None or mapped.time_ms > latest):
                    latest = mapped.time_ms
    return latest


@contextmanager
def spooled(source: Source) -> Iterator[Source]:
    """The source as one that can be read twice: the standard input is copied to a temporary file."""
    if source.path is not None:
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="publish-") as directory:
        path = Path(directory) / "stdin"
        with path.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        yield replace(source, path=path)


async def read_ahead(source: Source) -> AsyncIterator[Row]:
    """Rows, read in a thread: a slow pipe then does not hold up what is being sent."""
    ready: queue.Queue[Row | BaseException | None] = queue.Queue(ROWS_AHEAD)
    given_up = threading.Event()

    def put(item: Row | BaseException | None) -> None:
        while not given_up.is_set():
            try:
                return ready.put(item, timeout=0.5)
            except queue.Full:
                continue

    def read() -> None:
        try:
            with source.open() as file:
                for row in source.rows(file):
                    put(row)
                    if given_up.is_set():
                        return
            put(None)
        except (OSError, ValueError) as error:
            put(error)

    threading.Thread(target=read, name=f"reading {source.name}", daemon=True).start()
    count = 0
    try:
        while True:
            try:
                item = ready.get_nowait()
            except queue.Empty:
                await asyncio.sleep(IDLE_S)
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise ConfigError(source.name, (Problem(None, "FILE", f"cannot be read: {item}"),)) from item
            count += 1
            if count % 100 == 0:
                await asyncio.sleep(0)  # lets the producer send
            yield item
    finally:
        given_up.set()
