"""Log lines: readable on a terminal, JSON lines for machines; on standard error. Never a visitor id, never an event."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson
from rich.console import Console
from rich.logging import RichHandler

from streams.errors import MonitorError

#: Libraries whose information is of use only when something is wrong.
_QUIET = ("aiokafka", "faust", "mode", "aiohttp", "asyncio", "kafka")


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339), level, logger, message, and the exception if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def _is_not_told_at_the_end(record: logging.LogRecord) -> bool:
    """An error for people is told once, at the end, with its remedy; where in the code it was raised helps nobody."""
    return not (record.exc_info and isinstance(record.exc_info[1], MonitorError))


class LessOfTheSame(logging.Filter):
    """Passes a library's line once in `QUIET_S`; the next one says how many like it were left out.

    While a broker is away, clients say so of every connection and of every attempt: some hundred lines a second.
    """

    QUIET_S = 10.0

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.name.partition(".")[0] not in _QUIET:
            return True
        kind = (record.name, str(record.msg)[:60])
        at, left_out = self._said.get(kind, (-self.QUIET_S, 0))
        if record.created - at < self.QUIET_S:
            self._said[kind] = at, left_out + 1
            return False
        if len(self._said) > 1_000:
            self._said.clear()
        self._said[kind] = record.created, 0
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more like this)", None
        return True


def set_up_logs(form: str = "text", level: str = "info") -> None:
    """Send all logs to standard error.

    Args:
        form: `text` or `json`.
        level: `debug`, `info`, `warning` or `error`. But for `debug`, libraries say one level less, and the same line
            once in 10 s.
    """
    handler: logging.Handler
    if form == "json":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
    elif sys.stderr.isatty():
        handler = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%H:%M:%S")
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    handler.addFilter(_is_not_told_at_the_end)
    if level != "debug":
        handler.addFilter(LessOfTheSame())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
