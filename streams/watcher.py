"""The watch of the worker that holds the totals: its state in the table `detector`, its alerts on their topic."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import orjson

from monitor import watch_state
from monitor.detection.config import DetectionConfig, Span
from monitor.watch import Watch, detection_config
from streams.errors import CommandError, StateError
from streams.operator_commands import Acknowledge, Mute, Unmute, parse
from streams.patience import until_done
from streams.settings import Settings
from streams.told import Told

log = logging.getLogger(__name__)

#: Largest part of the state in one message, bytes.
PART_BYTES = 900_000
#: How often the state is saved while minutes are judged, seconds.
SAVE_S = 5.0
_DAY_S = 86_400


class Part(msgspec.Struct, array_like=True, frozen=True):
    """One part of the state. Parts of one `stamp` belong together; two sets of keys take turns."""

    stamp: int
    part: int
    parts: int
    body: bytes


def config_of(settings: Settings) -> DetectionConfig:
    """Settings of the detectors."""
    wanted = settings.detection
    days = []
    for day in wanted.calendar:
        start = datetime(day.date.year, day.date.month, day.date.day, tzinfo=UTC)
        end = start + timedelta(days=1)
        days.append(Span(start.timestamp(), end.timestamp(), factor=day.factor, learn=day.learn))
    return detection_config(
        settings.rules,
        false_alarms_per_month=wanted.false_alarms_per_month,
        min_conversions_lost=wanted.min_conversions_lost,
        quiet=[Span(q.from_ms / 1000, q.to_ms / 1000) for q in wanted.quiet],
        calendar=days,
        mute=[Span(0, float("inf"), m.goal, m.dimension, m.value) for m in wanted.mute],
    )


def newest(rows: Mapping[bytes, bytes]) -> tuple[int, bytes] | None:
    """The newest complete state among stored parts, with its stamp; None if there is none."""
    by_stamp: dict[int, dict[int, Part]] = {}
    for value in rows.values():
        part = msgspec.msgpack.decode(value, type=Part)
        by_stamp.setdefault(part.stamp, {})[part.part] = part
    for stamp in sorted(by_stamp, reverse=True):
        parts = by_stamp[stamp]
        count = next(iter(parts.values())).parts
        if len(parts) == count:
            return stamp, b"".join(parts[i].body for i in range(count))
    return None


class Watcher:
    """Judges minutes, obeys operators, publishes alerts, saves the state.

    Attributes:
        watch: The detectors.
        saved_minute: The last minute that is judged and saved: partitions need not keep it any more.
    """

    def __init__(
        self, settings: Settings, partitions: int, alerts: str, changelog: str, rows: Mapping[bytes, bytes]
    ) -> None:
        found = newest(rows)
        self._stamp = found[0] if found else 0
        try:
            self.watch = Watch(settings.rules, config_of(settings), partitions, found[1] if found else None)
        except (ValueError, msgspec.MsgspecError) as error:
            msg = f"the detectors' state in {changelog} cannot be read: {error}"
            raise StateError(
                msg, remedy="run the release that wrote it, or start over with another kafka.group"
            ) from error
        self.saved_minute = self.watch.closed
        self._rules = settings.rules
        self._commands: list[tuple[int, bytes | None]] = []
        self._alerts, self._changelog = alerts, changelog
        self._saved_at = 0.0
        self._unpublished: list[dict[str, Any]] = []

    def put(self, partition: int, told: Told) -> None:
        """Take in what a partition told."""
        self.watch.put(partition, told.passed_ms, told.counts.segments, told.minutes, told.producers)

    @property
    def next_command(self) -> int:
        """Offset of the first command that has not been taken in."""
        return self._commands[-1][0] + 1 if self._commands else self.watch.next_command

    def command(self, offset: int, value: bytes | None) -> None:
        """Take in a message of the topic of commands; `work` obeys."""
        self._commands.append((offset, value))

    async def work(self, producer: Any) -> bool:
        """Judge what is over, obey, publish, save; whether something was saved."""
        now = time.time()
        self._unpublished += self.watch.judge(int(now * 1000) if self._rules.clock == "wall" else None)
        news = bool(self._unpublished or self._commands)
        for offset, value in self._commands:
            self._unpublished += self._obey(offset, value)
        self._commands = []
        for record in self._unpublished:
            log.warning("alert %s (%s): %s", record["state"], record["kind"], record["summary"])
            value = orjson.dumps(record)
            key = record["alert_id"].encode()

            async def send(key: bytes = key, value: bytes = value) -> None:
                await (await producer.send(self._alerts, key, value, None, None, None))

            await until_done("publishing an alert", send)
        self._unpublished = []
        if not news and (self.watch.closed == self.saved_minute or now - self._saved_at < SAVE_S):
            return False
        self._saved_at = now
        minute = self.watch.closed
        await until_done("saving the detectors", lambda: self._save(producer))
        self.saved_minute = minute
        return True

    def _obey(self, offset: int, value: bytes | None) -> list[dict[str, Any]]:
        """Do what an operator says; the records to publish. Twice the same does no harm."""
        watch = self.watch
        watch.next_command = offset + 1
        try:
            command = parse(value, self._rules)
        except CommandError as error:
            log.warning("the command at offset %d is ignored: %s; %s", offset, error.message, error.remedy)
            return []
        what, why_not = "", ""
        out: list[dict[str, Any]] = []
        match command:
            case Acknowledge(alert_id=name):
                what, known = f"acknowledge {name!r}", watch.records.get(name)
                out = watch.acknowledge(name)
                if known is None or known["state"] == "resolved":
                    why_not = "there is no such alert" if known is None else "the alert is over"
            case Mute():
                what, mute = (
                    f"mute {command.name} until {command.until}",
                    watch_state.Mute(*command.series, command.until_s),
                )
                out = watch.mute(mute)
                if mute not in watch.mutes:
                    why_not = "that time is over"
            case Unmute():
                what = f"unmute {command.name}"
                if all(m.series != command.series for m in watch.mutes):
                    why_not = "no command has muted exactly that"
                out = watch.unmute(*command.series)
        if why_not:
            log.warning("the command at offset %d is ignored: %s: %s", offset, what, why_not)
        else:
            log.info("%s (by %r, note %r)", what, command.by, command.note)
        return out

    async def _save(self, producer: Any) -> None:
        self._stamp += 1
        body = self.watch.saved()
        count = max(1, -(-len(body) // PART_BYTES))
        for i in range(count):
            part = Part(self._stamp, i, count, body[i * PART_BYTES : (i + 1) * PART_BYTES])
            key = f"{self._stamp % 2}:{i}".encode()
            await (await producer.send(self._changelog, key, msgspec.msgpack.encode(part), 0, None, None))
