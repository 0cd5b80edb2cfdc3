"""The watch of the worker that holds the totals: its state in the table `detector`, its alerts on their topic."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import orjson

from monitor.detection.config import DetectionConfig, Span
from monitor.watch import Watch, detection_config
from streams.errors import StateError
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
    """Judges minutes, publishes alerts, saves the state.

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
        self._wall = settings.rules.clock == "wall"
        self._alerts, self._changelog = alerts, changelog
        self._saved_at = 0.0
        self._unpublished: list[dict[str, Any]] = []

    def put(self, partition: int, told: Told) -> None:
        """Take in what a partition told."""
        self.watch.put(partition, told.passed_ms, told.counts.segments, told.minutes, told.producers)

    async def work(self, producer: Any) -> bool:
        """Judge what is over, publish, save; whether something was saved."""
        now = time.time()
        self._unpublished += self.watch.judge(int(now * 1000) if self._wall else None)
        news = bool(self._unpublished)
        for record in self._unpublished:
            log.warning("alert %s (%s): %s", record["state"], record["kind"], record["summary"])
            value = orjson.dumps(record)
            key = record["alert_id"].encode()

            async def send(key: bytes = key, value: bytes = value) -> None:
                await (await producer.send(self._alerts, key, value, None, None, None))

            await until_done("publishing an alert", send)
        self._unpublished = []
        if self.watch.closed == self.saved_minute or not (news or now - self._saved_at >= SAVE_S):
            return False
        self._saved_at = now
        minute = self.watch.closed
        await until_done("saving the detectors", lambda: self._save(producer))
        self.saved_minute = minute
        return True

    async def _save(self, producer: Any) -> None:
        self._stamp += 1
        body = self.watch.saved()
        count = max(1, -(-len(body) // PART_BYTES))
        for i in range(count):
            part = Part(self._stamp, i, count, body[i * PART_BYTES : (i + 1) * PART_BYTES])
            key = f"{self._stamp % 2}:{i}".encode()
            await (await producer.send(self._changelog, key, msgspec.msgpack.encode(part), 0, None, None))
