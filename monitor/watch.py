"""Closed minutes into the detectors: which series there are, what they get, and the alerts that come out.

Stage two drives it: `put` what partitions tell, `judge` what is over, publish the records, keep `saved` bytes. Pure: a
replay of the same minutes gives the same alerts with the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from monitor.detection.config import DetectionConfig, SeriesKey, Span
from monitor.detection.detector import Detector
from monitor.detection.lifecycle import AlertChange, Incident
from monitor.minute_book import Closed, MinuteBook
from monitor.minutes import MINUTE_MS, Told
from monitor.rules import Rules
from monitor.segments import OTHER, UNKNOWN
from monitor.snapshot import ALL, DetectionRow
from monitor.watch_state import Mute, Saved, release_before

Floats = npt.NDArray[np.float64]
VERSION = 1
#: Minutes judged at one go, so that a backlog does not hold up everything else.
AT_ONCE = 120
#: Minutes without any visitor, after traffic was found to have dropped, until the stream counts as standing still.
STILL_MIN = 5
#: A minute judged so long (minutes) after its end is catching up: its alerts are marked as late.
LATE_MIN = 5
#: Resolved alerts that are still shown.
SHOWN_RESOLVED = 20
#: Producers (name/version) remembered.
PRODUCERS = 200
MINUTE_S = 60


class Watch:
    """Detectors over all goals and segments.

    Attributes:
        records: Alert id → its latest record; open ones and lately resolved ones.
        mutes: Mutes of operators that have not ended, besides those of the config.
        next_command: Offset of the first command of operators that has not been obeyed yet.
    """

    def __init__(
        self, rules: Rules, config: DetectionConfig, partitions: int, saved: bytes | None = None
    ) -> None:
        self._rules, self._config = rules, config
        self.records: dict[str, dict[str, Any]] = {}
        self.mutes: tuple[Mute, ...] = ()
        self.next_command = 0
        self._producers: dict[str, int] = {}
        self._since: int | None = None  # first minute judged
        closed: int | None = None
        whole = [SeriesKey(goal.name) for goal in rules.goals]
        if saved is None:
            self._detector = Detector(config, whole)
        else:
            found = msgspec.msgpack.decode(saved, type=Saved)
            if found.version != VERSION:
                msg = f"detector state has version {found.version}, this release reads version {VERSION}"
                raise ValueError(msg)
            self.mutes, self.next_command = found.mutes, found.next_command
            self._detector = Detector.from_bytes(replace(config, mute=self._spans()), found.detector)
            goals = {goal.name for goal in rules.goals}
            self._detector.remove([k for k in self._detector.keys if k.goal not in goals])
            self._detector.add(whole)
            self._producers, self._since, closed = dict(found.producers), found.since, found.closed
            self.records = {record["alert_id"]: record for record in found.records}
        self._book = MinuteBook(partitions, 1 + len(rules.goals), rules.allowed_lateness_ms, closed)
        self._values: dict[str, set[str]] = {d.name: set() for d in rules.dimensions}
        for key in self._detector.keys:
            self._values.setdefault(key.dimension, set()).add(key.value)
        self._rows: tuple[DetectionRow, ...] | None = None

    @property
    def detector(self) -> Detector:
        """The detectors, to be looked at."""
        return self._detector

    @property
    def closed(self) -> int | None:
        """The last minute (of the epoch) that was judged."""
        return self._book.closed

    def put(
        self,
        partition: int,
        passed_ms: int | None,
        segments: Iterable[tuple[str, list[str], list[int]]],
        minutes: Iterable[Told],
        producers: Mapping[str, int],
    ) -> None:
        """Take in what a partition told; arguments as of `MinuteBook.put`, producers → event time of their first event."""
        self._book.put(partition, passed_ms, segments, minutes)
        for name, first_ms in producers.items():
            if len(self._producers) < PRODUCERS or name in self._producers:
                self._producers[name] = min(first_ms, self._producers.get(name, first_ms))

    def judge(
        self, now_ms: int | None, before: Callable[[int, Floats, Floats], None] = lambda *_: None
    ) -> list[dict[str, Any]]:
        """Judge the minutes that are over; the alert records to publish, in order.

        Args:
            now_ms: The wall clock, to tell what is judged late; None: nothing is (replays).
            before: Told each minute with its visitors and conversions, [series of the detector], before it is judged.
        """
        out: list[dict[str, Any]] = []
        for minute, closed in self._book.close(AT_ONCE):
            first = self._since is None
            self._since = minute if self._since is None else self._since
            begun = len(self._detector.keys)
            self._add_series(closed)
            late = now_ms is not None and now_ms - (minute + 1) * MINUTE_MS > LATE_MIN * MINUTE_MS
            visitors, conversions = self._numbers(minute, closed)
            # The minute in which a series begins is seldom whole: a rate or a traffic learned from it would be wrong.
            visitors[0 if first else begun :] = np.nan
            before(minute, visitors, conversions)
            changes = self._detector.step(
                minute,
                visitors,
                conversions,
                late=late,
                release=release_before(minute, self._since, self._producers),
            )
            out += self._take(changes)
            self.mutes = tuple(m for m in self.mutes if not self._is_over(m))
        self._forget()
        return out

    def _add_series(self, closed: Closed) -> None:
        """Watch values that are seen for the first time, as many per dimension as have series of their own."""
        limits = {d.name: d.max_values for d in self._rules.dimensions}
        new: list[SeriesKey] = []
        by_traffic = sorted(closed.items(), key=lambda item: (-int(item[1][0]), item[0]))
        for (dimension, value), _ in by_traffic:
            known = self._values.get(dimension)
            if known is None or value in known or dimension == ALL:
                continue
            if value not in (UNKNOWN, OTHER) and len(known - {UNKNOWN, OTHER}) >= limits[dimension]:
                continue
            known.add(value)
            new += [SeriesKey(goal.name, dimension, value) for goal in self._rules.goals]
        if new:
            self._detector.add(new)

    def _numbers(self, minute: int, closed: Closed) -> tuple[Floats, Floats]:
        goals = {goal.name: 1 + g for g, goal in enumerate(self._rules.goals)}
        keys = self._detector.keys
        visitors, conversions = np.zeros(len(keys)), np.zeros(len(keys))
        for i, key in enumerate(keys):
            numbers = closed.get((key.dimension, key.value))
            if numbers is not None:
                visitors[i], conversions[i] = numbers[0], numbers[goals[key.goal]]
        if not visitors.any() and self._stands_still(minute):
            visitors[:] = np.nan
        return visitors, conversions

    def _stands_still(self, minute: int) -> bool:
        """Whether traffic was found to have dropped a while ago, and still nobody comes."""
        return any(
            i.kind == "stale" or (i.kind == "traffic_drop" and minute - i.raised >= STILL_MIN)
            for i in self._detector.incidents
        )

    def _forget(self) -> None:
        resolved = [r for r in self.records.values() if r["state"] == "resolved"]
        resolved.sort(key=lambda r: r["changed_at"])
        for record in resolved[:-SHOWN_RESOLVED]:
            del self.records[record["alert_id"]]

    # --- from outside --------------------------------------------------------------------------------

    def acknowledge(self, alert_id: str) -> list[dict[str, Any]]:
        """An operator has seen an open alert; the records to publish: none if there is nothing new in that."""
        return self._take(self._detector.acknowledge(alert_id))

    def mute(self, mute: Mute) -> list[dict[str, Any]]:
        """An operator wants no alerts of some series for a while, in place of what he said of the same series before.

        Returns:
            The records to publish. There are some if the new mute has ended already, and an alert may speak again.
        """
        kept = tuple(m for m in self.mutes if m.series != mute.series)
        return self._mute(kept if self._is_over(mute) else (*kept, mute))

    def unmute(self, goal: str | None, dimension: str | None, value: str | None) -> list[dict[str, Any]]:
        """Take back the mute of exactly these series; the records to publish, of alerts that may speak again."""
        return self._mute(tuple(m for m in self.mutes if m.series != (goal, dimension, value)))

    def _mute(self, mutes: tuple[Mute, ...]) -> list[dict[str, Any]]:
        self.mutes = mutes
        return self._take(self._detector.mute(self._spans()))

    def _spans(self) -> tuple[Span, ...]:
        return (*self._config.mute, *(m.span for m in self.mutes))

    def _is_over(self, mute: Mute) -> bool:
        return self.closed is not None and mute.until <= self.closed * MINUTE_S

    def _take(self, changes: Iterable[AlertChange]) -> list[dict[str, Any]]:
        """Keep the records of changes; those that are to be published."""
        out = []
        for change in changes:
            self.records[change.record["alert_id"]] = change.record
            if not change.muted:
                out.append(change.record)
        self._rows = None
        return out

    def alerts(self) -> tuple[Mapping[str, Any], ...]:
        """Records for people, with `muted`: open ones first, those that cost most first, then lately resolved ones."""
        muted = {i.alert_id for i in self._detector.incidents if self._detector.is_muted(i)}
        records = [
            {"acknowledged": False, **record, "muted": name in muted} for name, record in self.records.items()
        ]
        records.sort(key=lambda r: (r["state"] == "resolved", -r["lost_conversions"], -r["changed_at"]))
        return tuple(records)

    def rows(self) -> tuple[DetectionRow, ...]:
        """What the metrics show, one entry a series."""
        if self._rows is None:
            about_traffic = [i for i in self._detector.incidents if not i.is_rate]
            self._rows = tuple(self._row(status, about_traffic) for status in self._detector.status())
        return self._rows

    def _row(self, status: Mapping[str, Any], about_traffic: list[Incident]) -> DetectionRow:
        key, incident = status["key"], status["alert"]
        mine = ([incident] if incident is not None else []) + (about_traffic if key.is_whole else [])
        quiet = self._detector.is_muted(key)
        alerts = {i.kind: not (quiet or self._detector.is_muted(i)) for i in mine}
        return DetectionRow(
            goal=key.goal,
            dimension=key.dimension,
            value=key.value,
            expected=status["expected_ratio"],
            state=status["state"],
            alerts=alerts,
            acknowledged=frozenset(i.kind for i in mine if i.acknowledged),
            muted=quiet or (bool(mine) and not any(alerts.values())),
            lost=status.get("lost_conversions", 0.0),
            probability=None if incident is None else incident.probability,
        )

    def saved(self) -> bytes:
        """Everything that must survive a restart."""
        return msgspec.msgpack.encode(
            Saved(
                VERSION,
                self._book.closed,
                self._since,
                self._producers,
                list(self.records.values()),
                self._detector.to_bytes(),
                self.mutes,
                self.next_command,
            )
        )


def detection_config(
    rules: Rules,
    *,
    false_alarms_per_month: float,
    min_conversions_lost: float,
    quiet: Iterable[Span] = (),
    calendar: Iterable[Span] = (),
    mute: Iterable[Span] = (),
) -> DetectionConfig:
    """Settings of the detectors from the config's counting rules and its section `detection`."""
    return DetectionConfig(
        false_alarms_per_month=false_alarms_per_month,
        min_conversions_lost=min_conversions_lost,
        expected_rate={g.name: g.expected_rate for g in rules.goals if g.expected_rate is not None},
        quiet=tuple(quiet),
        calendar=tuple(calendar),
        mute=tuple(mute),
    )
