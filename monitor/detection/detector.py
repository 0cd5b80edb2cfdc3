"""`Detector`: feed it closed minutes, get changes of alerts.

```
detector = Detector(DetectionConfig(), [SeriesKey("purchase"), SeriesKey("purchase", "device", "mobile"), ...])
changes = detector.step(minute, visitors, conversions)      # arrays in the order of detector.keys
data = detector.to_bytes()                                  # about 1.4 kB a series
detector = Detector.from_bytes(config, data)                # goes on to the bit
```

Pure and deterministic: it reads no clock and draws no chance. Minutes come in order; a minute that was already taken
is ignored (a replay changes nothing), missing minutes count as minutes without data.

Longer than 300 lines because it is the whole outside of the package: series, minutes, commands, status, state.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitor.detection import learning, scan
from monitor.detection.config import DetectionConfig, SeriesKey, Span
from monitor.detection.judge import Judge
from monitor.detection.lifecycle import AlertChange, Incident
from monitor.detection.scan import Expectation
from monitor.detection.state import SeriesState

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Without data for longer than this many minutes, the time between is skipped instead of run through.
LONGEST_GAP = 30 * 1440
#: Conversions before a series is judged; fewer expected in a week than this is `insufficient`.
LEARNED_CONVERSIONS, WEEKLY_LEAST = 20.0, 20.0

_ALWAYS = scan.DROP | scan.RECOVERED
_WHOLE = _ALWAYS | scan.TRAFFIC_FELL | scan.LOW_INTENT | scan.STALE


class Detector:
    """Detectors of all series of a monitor.

    Attributes:
        keys: Names of the series, in the order of all arrays.
        minute: Last minute taken (epoch minutes); None before the first.
    """

    def __init__(self, config: DetectionConfig | None = None, keys: Sequence[SeriesKey] = ()) -> None:
        self.config = config or DetectionConfig()
        self.keys: list[SeriesKey] = []
        self.minute: int | None = None
        self._state = SeriesState.empty(0)
        self._expect: Expectation | None = None
        self._judge = Judge(self.config, [])
        self.add(keys)

    # ---- series -------------------------------------------------------------------------------------------------

    def add(self, keys: Sequence[SeriesKey]) -> None:
        """Add series; those that exist already stay as they are."""
        new = [k for k in dict.fromkeys(keys) if k not in self._judge.index]
        old = np.concatenate([np.arange(len(self.keys)), np.full(len(new), -1)]).astype(np.int64)
        self._rebuild(self.keys + new, self._state.take(old))
        for i in range(len(self.keys) - len(new), len(self.keys)):
            rate = self.config.expected_rate.get(self.keys[i].goal)
            if rate is not None and rate > 0:
                learning.begin_from(self._state, np.array([i]), rate, self.config.expected_rate_sd)

    def remove(self, keys: Sequence[SeriesKey]) -> None:
        """Forget series; their open alerts go with them."""
        gone = set(keys)
        kept = [i for i, k in enumerate(self.keys) if k not in gone]
        self._rebuild([self.keys[i] for i in kept], self._state.take(np.array(kept, np.int64)))

    def _rebuild(self, keys: list[SeriesKey], state: SeriesState) -> None:
        old = self._judge
        self.keys, self._state = keys, state
        self._judge = Judge(self.config, keys)
        for name in ("open", "recent"):
            for group, incidents in getattr(old, name).items():
                stay = [i for i in incidents if i.lead in self._judge.index]
                for i in stay:
                    i.members = {k for k in i.members if k in self._judge.index}
                if stay:
                    getattr(self._judge, name)[group] = stay
        self._group_of = np.zeros(len(keys), np.int64)
        names: dict[str, int] = {}
        for i, k in enumerate(keys):
            self._group_of[i] = names.setdefault(k.group, len(names))
        self._groups = list(names)
        self._columns = _by_group(self._group_of, len(names))
        self._whole = [next((int(c) for c in cols if keys[c].is_whole), -1) for cols in self._columns]
        self._allowed = np.full(len(keys), _ALWAYS, np.uint8)
        self._allow(range(len(self._groups)))
        self._expect = None

    def _allow(self, groups: Any) -> None:
        """Which events matter to which series, from what is open."""
        for g in groups:
            w = self._whole[g]
            if w < 0:
                continue
            kinds = {i.kind for i in self._judge.open.get(self._groups[g], [])}
            bits = _WHOLE
            if "traffic_drop" in kinds:
                bits = (bits & ~scan.TRAFFIC_FELL) | scan.TRAFFIC_BACK
            if "low_intent_traffic" in kinds:
                bits = (bits & ~scan.LOW_INTENT) | scan.INTENT_OVER
            if "stale" in kinds:
                bits = (bits & ~(scan.STALE | scan.TRAFFIC_FELL)) | scan.DATA_BACK
            self._allowed[w] = bits

    # ---- minutes ------------------------------------------------------------------------------------------------

    def step(
        self,
        minute: int,
        visitors: ArrayLike,
        conversions: ArrayLike,
        *,
        late: bool = False,
        release: str | None = None,
    ) -> list[AlertChange]:
        """Take one closed minute.

        Args:
            minute: Epoch minutes.
            visitors: Visitors of each series; NaN means that nothing is known of the minute.
            conversions: Conversions of each series.
            late: Mark alerts raised now as raised late (catching up after an outage of the monitor).
            release: A deployment that went out shortly before, in words; goes into alerts raised now.
        """
        n, x = np.asarray(visitors, np.float64), np.asarray(conversions, np.float64)
        return self.run(minute, n[None, :], x[None, :], late=late, release=release) + self._unmuted()

    def run(
        self,
        minute: int,
        visitors: ArrayLike,
        conversions: ArrayLike,
        *,
        late: bool = False,
        release: str | None = None,
    ) -> list[AlertChange]:
        """Take many minutes in a row, [minutes, series], the first of which is `minute`.

        Raises:
            ValueError: Wrong shape, or a negative or infinite number.
        """
        n = np.ascontiguousarray(visitors, np.float64)
        x = np.ascontiguousarray(conversions, np.float64)
        if n.shape != x.shape or n.ndim != 2 or n.shape[1] != len(self.keys):
            msg = f"visitors {n.shape} and conversions {x.shape} should both be [minutes, {len(self.keys)} series]"
            raise ValueError(msg)
        if (n < 0).any() or (x < 0).any() or np.isinf(n).any() or np.isinf(x).any():
            msg = "visitors and conversions are numbers from 0 up (NaN visitors: no data)"
            raise ValueError(msg)
        if np.isnan(x).any():
            n, x = np.where(np.isnan(x), np.nan, n), np.nan_to_num(x, nan=0.0)
        out: list[AlertChange] = []
        if self.minute is not None:
            skip = min(max(self.minute + 1 - minute, 0), len(n))
            n, x, minute = n[skip:], x[skip:], minute + skip
            if not len(n):
                return out
            gap = minute - self.minute - 1
            if gap > LONGEST_GAP:
                self.minute = minute - LONGEST_GAP - 1
                gap = LONGEST_GAP
            if gap > 0:
                none = np.full((gap, len(self.keys)), np.nan)
                out += self._run(self.minute + 1, none, np.zeros_like(none), late, release)
        return out + self._run(minute, n, x, late, release)

    def _run(self, minute: int, n: Array, x: Array, late: bool, release: str | None) -> list[AlertChange]:
        self._judge.late, self._judge.release = late, release
        out: list[AlertChange] = []
        at = 0
        while at < len(n):
            now = minute + at
            step = 60 - now % 60
            if (self._state.seen < learning.YOUNG_MINUTES).any():
                step = min(step, 10 - now % 10)
            rows = min(step, len(n) - at)
            out += self._block(now, n[at : at + rows], x[at : at + rows])
            at += rows
        return out

    def _expectation(self, hour: int) -> Expectation:
        if self._expect is None:
            between = self.config.minutes_between_alarms(len(self.keys))
            self._expect = learning.expectation(self._state, hour, self.config, between)
        return self._expect

    def _block(self, minute: int, n: Array, x: Array) -> list[AlertChange]:
        """Minutes within one hour: scan, commit up to each group's first event, handle it, go on with the rest."""
        ex = self._expectation(minute // 60)
        j0, rows = minute % 60, len(n)
        factor, still, no_learn = self._calendar(minute, rows)
        out: list[tuple[int, int, list[AlertChange]]] = []
        cols: Ints | slice = slice(None)
        live = np.ones((rows, len(self.keys)), np.bool_)
        while True:
            here = self._state if isinstance(cols, slice) else self._state.take(cols)
            part = ex if isinstance(cols, slice) else ex.take(cols)
            look = scan.look(
                here, part, j0, minute, n[:, cols], x[:, cols], live,
                None if factor is None else factor[:, cols], None if still is None else still[:, cols],
                self.config.min_conversions_lost, self.config.stale_after_minutes,
            )  # fmt: skip
            if no_learn is not None:
                look.learnable &= ~no_learn[:, cols]
            end, stops = self._first_events(look, cols, minute)
            scan.commit(self._state, look, part, cols, j0, end)
            for g, row in stops:
                mine = self._columns[g]
                where = mine if isinstance(cols, slice) else np.searchsorted(cols, mine)
                bits = look.events[row, where] & self._allowed[mine]
                recent = slice(max(row - 4, 0), row + 1)
                traffic = look.visitors[recent, where].mean(0), look.usual[recent, where].mean(0)
                out.append((row, g, self._handle(g, minute + row + 1, bits, ex, traffic)))
            unfinished = [g for g, row in stops if row < rows - 1]
            if not unfinished:
                break
            ends = dict(stops)
            cols = np.sort(np.concatenate([self._columns[g] for g in unfinished]))
            stop_row = np.array([ends[g] for g in self._group_of[cols]])
            live = np.arange(rows)[:, None] > stop_row
        self.minute = minute + rows - 1
        after = minute + rows
        if after % 10 == 0 and learning.close_young(self._state, after, ex, self.config):
            self._expect = None
        if after % 60 == 0:
            learning.close_hour(self._state, minute // 60, ex, self.config)
            self._forget_old(after)
            self._expect = None
        out.sort(key=lambda e: (e[0], e[1]))
        return [change for _, _, changes in out for change in changes]

    def _first_events(
        self, look: scan.Look, cols: Ints | slice, minute: int
    ) -> tuple[Ints, list[tuple[int, int]]]:
        """Row up to which each series is committed, and (group, row) of each group's first event."""
        rows = len(look.visitors)
        allowed = self._allowed[cols]
        hits = ((look.events & allowed) > 0) & look.live
        end = np.full(hits.shape[1], rows - 1, np.int64)
        group_of = self._group_of[cols]
        first: dict[int, int] = {}
        some = np.flatnonzero(hits.any(0))
        for c, row in zip(some, np.argmax(hits[:, some], axis=0), strict=True):
            g = int(group_of[c])
            first[g] = min(first.get(g, rows), int(row))
        begin = rows - look.live.sum(0)
        for name, incidents in self._judge.open.items():
            due = [i.next_review for i in incidents]
            if not due:
                continue
            g = self._group_index(name)
            row = min(due) - minute - 1
            at = np.flatnonzero(group_of == g)
            if row < rows and len(at):
                row = max(row, int(begin[at[0]]))
                if row < rows:
                    first[g] = min(first.get(g, rows), row)
        if first:
            for g, row in first.items():
                end[group_of == g] = row
        return end, sorted(first.items())

    def _group_index(self, name: str) -> int:
        first = self._judge.by_group[name]
        return int(self._group_of[first])

    # ---- events -------------------------------------------------------------------------------------------------

    def _handle(
        self, g: int, now: int, bits: NDArray[np.uint8], ex: Expectation, traffic: tuple[Array, Array]
    ) -> list[AlertChange]:
        """What a group's events of one minute mean; `traffic`: visitors lately and usually, of its series."""
        st, judge, name, cols = self._state, self._judge, self._groups[g], self._columns[g]
        out: list[AlertChange] = []
        back = [int(c) for c in cols[(bits & scan.RECOVERED) > 0]]
        if back:
            out += judge.recovered(st, ex, name, back, now)
        fell = [int(c) for c in cols[(bits & scan.DROP) > 0]]
        if fell:
            out += judge.fell(st, ex, name, fell, now)
        w = self._whole[g]
        if w >= 0:
            at = int(np.searchsorted(cols, w))
            bit = int(bits[at])
            usual = float(traffic[0][at] / max(traffic[1][at], 1e-9))
            open_kinds = {i.kind: i for i in judge.open.get(name, [])}
            for ended, kind in (
                (scan.TRAFFIC_BACK, "traffic_drop"), (scan.INTENT_OVER, "low_intent_traffic"), (scan.DATA_BACK, "stale"),
            ):  # fmt: skip
                if bit & ended and kind in open_kinds:
                    out += judge.over(st, ex, open_kinds[kind], now)
            if bit & scan.STALE and bool((st.gap[cols] > 0).all()):
                out += judge.about_traffic(st, ex, w, "stale", now, [], 0.0)
            if bit & scan.TRAFFIC_FELL:
                out += judge.about_traffic(st, ex, w, "traffic_drop", now, [], usual)
            if bit & scan.LOW_INTENT and not any(i.is_rate for i in judge.open.get(name, [])):
                brought = self._who_brought(cols, *traffic)
                out += judge.about_traffic(st, ex, w, "low_intent_traffic", now, brought, usual)
        for incident in list(judge.open.get(name, [])):
            if incident.next_review <= now:
                out += judge.review(st, ex, incident, now)
        self._allow([g])
        return out

    def _who_brought(self, cols: Ints, visitors: Array, usual: Array) -> list[tuple[str, str, float]]:
        """Segment that brought most of the visitors above the usual, with its share of them.

        Of several that brought at least half, the one that did so beyond its usual share: two thirds of a campaign
        may come over the web because two thirds of all do. A segment that was not there before has no usual visitors.
        """
        is_whole = np.array([self.keys[c].is_whole for c in cols])
        known = np.nan_to_num(usual, nan=0.0)
        more, all_usual = visitors - known, float(known[is_whole].max(initial=0.0))
        whole = float(more[is_whole].max(initial=0.0))
        if whole <= 0 or all_usual <= 0:
            return []
        share, before = np.minimum(more / whole, 1.0), known / all_usual
        parts = [i for i in range(len(cols)) if not is_whole[i] and share[i] >= 0.5]
        if not parts:
            return []
        best = max(parts, key=lambda i: float(share[i] - before[i]))
        key = self.keys[cols[best]]
        return [(key.dimension, key.value, round(float(share[best]), 4))]

    def _forget_old(self, now: int) -> None:
        for name, incidents in list(self._judge.recent.items()):
            kept = [
                i
                for i in incidents
                if i.resolved is not None and now - i.resolved <= self.config.reopen_minutes
            ]
            if kept:
                self._judge.recent[name] = kept
            else:
                del self._judge.recent[name]
        self._judge.open = {k: v for k, v in self._judge.open.items() if v}

    def _calendar(
        self, minute: int, rows: int
    ) -> tuple[Array | None, NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
        """Factor, quiet and do-not-learn of a block; None where nothing applies."""
        a, b = minute * 60, (minute + rows) * 60
        quiet = [s for s in self.config.quiet if s.start < b and s.end > a]
        days = [s for s in self.config.calendar if s.start < b and s.end > a]
        if not quiet and not days:
            return None, None, None
        shape = (rows, len(self.keys))
        factor, still, no_learn = np.ones(shape), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        for spans, is_quiet in ((quiet, True), (days, False)):
            for span in spans:
                inside = np.array([span.covers(minute + r) for r in range(rows)])[:, None]
                here = inside & np.array([span.matches(k) for k in self.keys])
                if is_quiet:
                    still |= here
                else:
                    factor[here] *= span.factor
                    if not span.learn:
                        no_learn |= here
        return factor, still, no_learn

    # ---- from outside -------------------------------------------------------------------------------------------

    def mute(self, spans: Sequence[Span]) -> list[AlertChange]:
        """Publish no alerts of series within these spans (instead of those before); open alerts that this lets speak."""
        self.config = replace(self.config, mute=tuple(spans))
        self._judge.config = self.config
        for incident in self.incidents:
            incident.muted = incident.muted or self.is_muted(incident)
        return self._unmuted()

    def is_muted(self, muted: Incident | SeriesKey) -> bool:
        """Whether an open alert or a series is muted in the last minute taken."""
        now = 0 if self.minute is None else self.minute + 1
        return (
            self._judge.is_muted(muted, now) if isinstance(muted, Incident) else self._judge.mutes(muted, now)
        )

    def _unmuted(self) -> list[AlertChange]:
        """Records of open alerts whose mute is over."""
        if self.minute is None:
            return []
        over = [i for i in self.incidents if i.muted and not self.is_muted(i)]
        return [self._judge.say(i, "updated", self.minute + 1) for i in over]

    def acknowledge(self, alert_id: str) -> list[AlertChange]:
        """Mark an open alert as seen by an operator; nothing if none of that id is open, or it is marked already."""
        hit = [i for i in self.incidents if i.alert_id == alert_id and not i.acknowledged]
        out = []
        for i in hit:
            i.acknowledged = True
            out.append(self._judge.say(i, "updated", (self.minute or 0) + 1))
        return out

    @property
    def incidents(self) -> list[Incident]:
        """Open incidents."""
        return [i for v in self._judge.open.values() for i in v]

    def status(self) -> list[dict[str, Any]]:
        """What the metrics show, one entry a series: state, expected rate, and the alert it is part of."""
        st = self._state
        if self.minute is None or not self.keys:
            return [{"key": k, "state": "learning", "expected_ratio": None, "alert": None} for k in self.keys]
        hour = (self.minute + 1) // 60
        ex = self._expectation(hour)
        j = self.minute % 60 if self.minute // 60 == hour else 0
        rate = np.exp(ex.log_rate + ex.log_rate_step * (j + 0.5) - ex.guard)
        at = {k: i for i in self.incidents if i.is_rate for k in (i.members | {i.lead})}
        out = []
        for c, key in enumerate(self.keys):
            incident = at.get(key)
            if incident is not None:
                state = "alerting"
            elif not st.ready[c] or (
                st.conversions[c] < LEARNED_CONVERSIONS and key.goal not in self.config.expected_rate
            ):
                state = "learning"
            elif st.gap[c] > 0 or st.silence[c] > scan.SILENT:
                state = "frozen"
            elif st.per_minute[c] * 10080 < WEEKLY_LEAST:
                state = "insufficient"
            else:
                state = "watching"
            ratio = float(rate[c]) if st.ready[c] else None
            lost = max(float(st.alert_m[c] - st.alert_x[c]), 0.0) if incident is not None else 0.0
            out.append(
                {
                    "key": key,
                    "state": state,
                    "expected_ratio": ratio,
                    "alert": incident,
                    "lost_conversions": lost,
                }
            )
        return out

    def expectation_now(self) -> tuple[Array, Array]:
        """Expected rate and standard deviation of its logarithm at the next minute, [series]; for plots."""
        minute = 0 if self.minute is None else self.minute + 1
        ex = self._expectation(minute // 60)
        rate = np.exp(ex.log_rate + ex.log_rate_step * (minute % 60 + 0.5) - ex.guard)
        return np.where(self._state.ready > 0, rate, np.nan), np.sqrt(ex.base + ex.hour)

    def noise_of_series(self) -> tuple[Array, Array, Array, Array]:
        """Variances of single minutes, of tens of minutes and of the baseline, and expected conversions a minute."""
        ex = self._expectation(0 if self.minute is None else (self.minute + 1) // 60)
        return ex.white, ex.slow, ex.base, self._state.per_minute.copy()

    # ---- state --------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Everything that has to survive a restart: versioned arrays, then names and incidents as JSON."""
        meta = {
            "minute": self.minute,
            "keys": [list(asdict(k).values()) for k in self.keys],
            "open": {g: [i.to_dict() for i in v] for g, v in self._judge.open.items() if v},
            "recent": {g: [i.to_dict() for i in v] for g, v in self._judge.recent.items()},
        }
        arrays, text = self._state.to_bytes(), json.dumps(meta, separators=(",", ":")).encode()
        return arrays + text + struct.pack("<I", len(text))

    @classmethod
    def from_bytes(cls, config: DetectionConfig, data: bytes) -> Detector:
        """Read what `to_bytes` wrote.

        Raises:
            StateVersionError: Another version; the message names both.
            ValueError: Not detector state.
        """
        if len(data) < 14:
            msg = "detector state is cut off"
            raise ValueError(msg)
        (length,) = struct.unpack("<I", data[-4:])
        cut = len(data) - 4 - length
        if cut < 0:
            cut = len(data)
        state = SeriesState.from_bytes(data[:cut])
        meta = json.loads(data[cut:-4])
        self = cls(config)
        self.minute = meta["minute"]
        self._judge.index = {}
        self._rebuild([SeriesKey(*k) for k in meta["keys"]], state)
        for name in ("open", "recent"):
            kept = {g: [Incident.from_dict(i) for i in v] for g, v in meta[name].items()}
            setattr(self._judge, name, kept)
        self._allow(range(len(self._groups)))
        return self


def _by_group(group_of: Ints, n: int) -> list[Ints]:
    order = np.argsort(group_of, kind="stable")
    return np.split(order, np.cumsum(np.bincount(group_of, minlength=n))[:-1])
