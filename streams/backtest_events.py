"""Backtest on events: files through decoder, shard and watch, as a worker does it with a partition that it reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from monitor.detection.config import DetectionConfig, SeriesKey
from monitor.minutes import MINUTE_MS
from monitor.shard import Shard
from monitor.watch import Watch
from streams.backtest import LONGEST, Array, MinuteSeries, Result
from streams.errors import ConfigError, MonitorError, Problem
from streams.events import Decoder
from streams.mapping import Mapper
from streams.rows import MAX_BAD_KEPT, Bad, Row
from streams.settings import Settings
from streams.shards import note_producers
from streams.sources import Source

#: Events that are counted at one go. Less if a minute begins: a visitor counts in each minute with the values that he
#: has after the batch, and a worker that keeps up reads many batches a minute.
BATCH = 4_000


@dataclass
class Tally:
    """What became of the rows.

    Attributes:
        rows: Rows read.
        counted: Events counted.
        bad: Rows that could not be mapped or break the event contract.
        late: Events that came more than the allowed lateness after a later one.
        repeated: Events whose `event_id` had been counted already.
        bad_rows: The first `MAX_BAD_KEPT` of `bad`.
    """

    rows: int = 0
    counted: int = 0
    bad: int = 0
    late: int = 0
    repeated: int = 0
    bad_rows: list[Bad] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def name_of(key: SeriesKey) -> str:
    """Name of a series in tables and records: `all`, or `dimension=value`."""
    return "all" if key.is_whole else f"{key.dimension}={key.value}"


def _rows(source: Source) -> Iterator[Row]:
    """Rows of a file; ConfigError if it cannot be read."""
    try:
        with source.open() as file:
            yield from source.rows(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(source.name, (Problem(None, "FILE", f"cannot be read: {reason}"),)) from error


class Replay:
    """Events in the order of their files, counted and judged. Only they move time, whatever the config's `clock`.

    Args:
        settings: What is counted, and how.
        mapper: How rows become events.
        config: Settings of the detectors.
        on_bad: Told about every row that is left out, as it comes.
        on_progress: Told about the bytes done of all files, now and then.
    """

    def __init__(
        self,
        settings: Settings,
        mapper: Mapper,
        config: DetectionConfig,
        on_bad: Callable[[Bad], None] = lambda _: None,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        rules = replace(settings.rules, clock="event")
        self._lateness_ms = rules.allowed_lateness_ms
        self._mapper = mapper
        self._decoder = Decoder(rules)
        self._shard = Shard(rules, settings.privacy.salt.encode())
        self._watch = Watch(rules, config, 1)
        self._producers: dict[str, int] = {}
        self._on_bad, self._on_progress = on_bad, on_progress
        self._first_ms: int | None = None
        self._minutes: list[int] = []
        self._numbers: list[tuple[Array, Array, Array, Array]] = []
        self._expectation: tuple[Array, Array] = (np.empty(0), np.empty(0))
        self._records: list[dict[str, Any]] = []
        self.tally = Tally()

    def run(self, sources: Sequence[Source]) -> tuple[MinuteSeries, Result]:
        """Replay files, one after the other.

        Raises:
            MonitorError: A file cannot be read, or nothing in the files can be judged.
        """
        done = 0
        for source in sources:
            done = self._file(source, done)
        self._file_ended(" ".join(s.name for s in sources))
        return self._outcome()

    def _file(self, source: Source, done: int) -> int:
        batch: list[tuple[int, bytes]] = []
        minute = end = 0
        for row in _rows(source):
            self.tally.rows += 1
            end = row.end
            mapped = self._mapper.map(row)
            if isinstance(mapped, str):
                self._note_bad(Bad(source.name, row.line, mapped))
                continue
            begins = mapped.time_ms // MINUTE_MS > minute
            if batch and (begins or len(batch) >= BATCH):
                self._count(source.name, batch)
                batch = []
                self._on_progress(done + end)
            minute = max(minute, mapped.time_ms // MINUTE_MS)
            batch.append((row.line, mapped.value))
        self._count(source.name, batch)
        self._on_progress(done + end)
        return done + end

    def _note_bad(self, bad: Bad) -> None:
        self.tally.bad += 1
        if len(self.tally.bad_rows) < MAX_BAD_KEPT:
            self.tally.bad_rows.append(bad)
        self._on_bad(bad)

    def _count(self, name: str, batch: Sequence[tuple[int, bytes]]) -> None:
        """Decode and count a batch of (line, event), then judge the minutes that are over."""
        now_ms = int(time.time() * 1000)
        decoded = self._decoder.decode([value for _, value in batch], now_ms)
        for rejected in decoded.rejected:
            reason = f"{rejected.reason}: {rejected.detail}"
            self._note_bad(Bad(name, batch[rejected.position][0], reason))
        if not decoded.events:
            return
        self._check_span(name, batch[0][0], [int(e.timestamp) for e in decoded.events])  # type: ignore[arg-type]
        applied = self._shard.apply(decoded.events, now_ms)
        self.tally.counted += applied.counted
        self.tally.late += applied.late
        self.tally.repeated += applied.duplicates
        note_producers(self._producers, decoded.events)
        self._judge(self._shard.watermark_ms)

    def _check_span(self, name: str, line: int, times: Sequence[int]) -> None:
        """MonitorError if the files span longer than any history does."""
        if self._first_ms is None:
            self._first_ms = times[0]
        span = (max(times) - self._first_ms) / MINUTE_MS
        if span > LONGEST:
            msg = f"{name}: event times span {span / 525_960:.0f} years, from line {line} on at the latest"
            raise MonitorError(
                msg, remedy="take out the events with a wrong time, or give fewer files at once"
            )

    def _judge(self, passed_ms: int | None) -> None:
        """Tell the watch the minutes that have changed, and judge those that are over."""
        minutes = self._shard.minutes
        news = sorted(minutes.untold)
        minutes.untold.clear()
        segments = [(s.dimension.name, s.names, s.row.tolist()) for s in self._shard.segments]
        self._watch.put(0, passed_ms, segments, minutes.packed(news), self._producers)
        while True:  # a watch judges so many minutes at one go
            before = self._watch.closed
            self._records += self._watch.judge(None, self._note_minute)
            if self._watch.closed == before:
                break
        if before is not None:
            minutes.forget(before)
        self._shard.forget()

    def _note_minute(self, minute: int, visitors: Array, conversions: Array) -> None:
        if minute % 60 == 0 or len(self._expectation[0]) != len(visitors):
            self._expectation = self._watch.detector.expectation_now()
        self._minutes.append(minute)
        self._numbers.append((visitors, conversions, *self._expectation))

    def _file_ended(self, names: str) -> None:
        tally = self.tally
        if not tally.counted:
            msg = f"{names}: none of {tally.rows:,} rows is an event that can be counted"
            if tally.bad_rows:
                first = tally.bad_rows[0]
                msg += f"; the first is line {first.line} of {first.file}: {first.reason}"
            raise MonitorError(msg, remedy="name columns with --map and values with --rename, see --help")
        # Nothing comes any more, so nothing can be late: all minutes before the last, which is not whole, are over.
        watermark = self._shard.watermark_ms
        if watermark is not None:
            self._judge(watermark + self._lateness_ms)
        if not self._minutes:
            msg = f"{names}: the events span less than two whole minutes"
            raise MonitorError(msg, remedy="give a longer history: detectors first learn what is usual")

    def _outcome(self) -> tuple[MinuteSeries, Result]:
        detector = self._watch.detector
        columns = []
        for i in range(4):
            column = np.full((len(self._minutes), len(detector.keys)), np.nan)
            for row, numbers in zip(column, self._numbers, strict=True):
                row[: len(numbers[i])] = numbers[i]
            columns.append(column)
        visitors, conversions, expected, spread = columns
        series = MinuteSeries(
            self._minutes[0],
            visitors,
            np.nan_to_num(conversions),
            list(detector.keys),
            [name_of(k) for k in detector.keys],
            self._notes(),
        )
        for record in self._records:
            record["series"] = name_of(SeriesKey(record["goal"], record["dimension"], record["value"]))
        return series, Result(self._records, expected, spread, detector)

    def _notes(self) -> list[str]:
        tally = self.tally
        notes = []
        if tally.bad:
            notes.append(f"{tally.bad:,} of {tally.rows:,} rows were left out: they are not events")
        if tally.late:
            allowed = f"allowed_lateness ({self._lateness_ms / 1000:g} s)"
            notes.append(
                f"{tally.late:,} of {tally.rows:,} events were late, by more than {allowed}, and were left out:"
                " sort the files by time, or raise allowed_lateness in the config"
            )
        if tally.repeated:
            notes.append(f"{tally.repeated:,} events repeat an event_id and were counted once")
        return notes
