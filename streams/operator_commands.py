"""Commands of operators: what may stand in the topic `conversion-commands`, and the reader of the worker that obeys.

The topic is read without a consumer group, by the worker that holds the totals only, from the offset that stands in the
detectors' state: a command and what it did are saved together.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from monitor.rules import Rules
from monitor.snapshot import ALL
from streams.connection import reader
from streams.errors import CommandError

log = logging.getLogger(__name__)

#: Later than any end of a mute in epoch seconds, earlier than any in milliseconds (year 5138).
_SECONDS_END = 1e11
#: Longest text of a command, characters.
_LONGEST = 1_000
_EXAMPLES = {
    "acknowledge": '{"command": "acknowledge", "alert_id": "5f0c…"}',
    "mute": '{"command": "mute", "goal": "purchase", "dimension": "device", "value": "mobile", '
    '"until": "2026-11-27T18:00:00Z"}',
    "unmute": '{"command": "unmute", "goal": "purchase", "dimension": "device", "value": "mobile"}',
}


class _Command(msgspec.Struct, frozen=True, tag_field="command", forbid_unknown_fields=True, kw_only=True):
    """What every command may carry, for the log.

    Attributes:
        by: Who says so.
        note: Why.
    """

    by: str = ""
    note: str = ""


class Acknowledge(_Command, frozen=True, tag="acknowledge", kw_only=True):
    """Somebody has seen an alert and takes care of it.

    Attributes:
        alert_id: As in its records.
    """

    alert_id: str


class _Series(_Command, frozen=True, kw_only=True):
    """Series of a goal, a dimension, a value; what is left out stands for every one."""

    goal: str | None = None
    dimension: str | None = None
    value: str | None = None

    @property
    def series(self) -> tuple[str | None, str | None, str | None]:
        """Goal, dimension, value."""
        return self.goal, self.dimension, self.value

    @property
    def name(self) -> str:
        """The series in words."""
        parts = zip(("goal", "dimension", "value"), self.series, strict=True)
        return ", ".join(f"{what} {which}" for what, which in parts if which is not None)


class Mute(_Series, frozen=True, tag="mute", kw_only=True):
    """Alerts of some series are not told until a time.

    Attributes:
        until: RFC 3339 with zone, or epoch seconds; event time.
    """

    until: float | str

    @property
    def until_s(self) -> float:
        """The end, epoch seconds; ValueError if it is no time."""
        return _seconds(self.until)


class Unmute(_Series, frozen=True, tag="unmute", kw_only=True):
    """The mute of exactly these series is over."""


Command = Acknowledge | Mute | Unmute
_DECODER = msgspec.json.Decoder(Command)


def parse(value: bytes | None, rules: Rules | None) -> Command:
    """A command from the value of a message.

    Args:
        value: JSON.
        rules: Which goals and dimensions there are; None: not known, any name will do.

    Raises:
        CommandError: It is none, or names what does not exist.
    """
    try:
        command: Command = _DECODER.decode(value or b"")
    except msgspec.MsgspecError as error:
        raise _wrong(str(error), _example_for(value)) from error
    if (
        max((len(v) for v in msgspec.to_builtins(command).values() if isinstance(v, str)), default=0)
        > _LONGEST
    ):
        message = f"a text in it is longer than {_LONGEST} characters"
        raise _wrong(message, "shorten it")
    if isinstance(command, _Series):
        _check_series(command, rules)
    if isinstance(command, Mute):
        try:
            _seconds(command.until)
        except ValueError as error:
            message = f"until {command.until!r} {error}"
            raise _wrong(
                message, "write RFC 3339 with zone (2026-11-27T18:00:00Z) or epoch seconds"
            ) from error
    return command


def _check_series(command: _Series, rules: Rules | None) -> None:
    if command.series == (None, None, None):
        message = "it names no series"
        raise _wrong(message, "name a goal, or a dimension and a value")
    if command.value is not None and command.dimension is None:
        message = f"value {command.value} has no dimension"
        raise _wrong(message, "add the dimension")
    if rules is None:
        return
    goals = [goal.name for goal in rules.goals]
    if command.goal is not None and command.goal not in goals:
        message = f"there is no goal {command.goal}"
        raise _wrong(message, f"one of {', '.join(goals)}")
    dimensions = [ALL, *(dimension.name for dimension in rules.dimensions)]
    if command.dimension is not None and command.dimension not in dimensions:
        message = f"there is no dimension {command.dimension}"
        raise _wrong(message, f"one of {', '.join(dimensions)}")


def _seconds(until: float | str) -> float:
    if isinstance(until, str):
        try:
            at = datetime.fromisoformat(until)
        except ValueError:
            message = "is no time"
            raise ValueError(message) from None
        if at.tzinfo is None:
            message = "has no zone"
            raise ValueError(message)
        return at.timestamp()
    if not math.isfinite(until) or not 0 < until < _SECONDS_END:
        message = "is no time in epoch seconds"
        raise ValueError(message)
    return float(until)


def _example_for(value: bytes | None) -> str:
    """How the command that was meant is written."""
    meant = next(
        (name for name in ("unmute", "mute") if f'"{name}"'.encode() in (value or b"")), "acknowledge"
    )
    return f"write it like {_EXAMPLES[meant]}"


def _wrong(message: str, remedy: str) -> CommandError:
    one_line = "".join(c if c.isprintable() else "\ufffd" for c in message)
    return CommandError(one_line, remedy=remedy)


class Obeying(Protocol):
    """Who takes commands in, in the order of their offsets."""

    @property
    def next_command(self) -> int:
        """Offset from which to read."""

    def command(self, offset: int, value: bytes | None) -> None:
        """Take in one message."""


class CommandReader:
    """Reads the topic while this worker holds the totals.

    Args:
        topic: Its name.
        holder: Who obeys; None while another worker does.
    """

    def __init__(self, topic: str, holder: Callable[[], Obeying | None]) -> None:
        self._topic, self._holder = topic, holder

    async def follow(self, bootstrap: str, client_kwargs: Mapping[str, Any]) -> None:
        """Give `holder` what stands in the topic, until there is another holder or none.

        A broker that goes away ends it, with a line in the log: call it again.
        """
        holder = self._holder()
        if holder is None:
            return
        try:
            await self._follow(holder, bootstrap, client_kwargs)
        except (KafkaError, OSError) as error:
            log.warning("reading %s failed (%s); trying again in 1 s", self._topic, error)

    async def _follow(self, holder: Obeying, bootstrap: str, client_kwargs: Mapping[str, Any]) -> None:
        tp = TopicPartition(self._topic, 0)
        # From the beginning, too, where retention has deleted what was to be read next.
        async with reader(bootstrap, client_kwargs, fetch_max_wait_ms=500) as consumer:
            consumer.assign([tp])
            consumer.seek(tp, holder.next_command)
            while self._holder() is holder:
                for records in (await consumer.getmany(tp, timeout_ms=1_000)).values():
                    for record in records:
                        holder.command(record.offset, record.value)
