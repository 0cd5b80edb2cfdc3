"""Opens, joins, reviews and ends incidents: everything that happens seldom, series by series.

The block scan tells that something happened to a series in a minute; what it means is decided here from the state.
Longer than 300 lines because the decisions share that state and each other's steps: an end can be a flap, a fall
a return.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.detection import baseline, learning
from monitor.detection.attribution import Split, deviance, split
from monitor.detection.config import DetectionConfig, SeriesKey
from monitor.detection.cusum import DROPS, INTENT, LOG_REST, RECOVERY, TRAFFIC
from monitor.detection.kinds import at_least_drop, is_dead, probability
from monitor.detection.lifecycle import FLAP_FACTOR, FLAP_QUIET, AlertChange, Incident, alert_id
from monitor.detection.scan import RECOVERY_MINUTES, RECOVERY_RATE, Expectation
from monitor.detection.state import RING_HOURS, SeriesState

Ints = NDArray[np.int64]

#: Minutes until a rejected proposal may be judged again.
ASK_AGAIN = 5
#: Falls of other goals that begin within so many minutes have the same cause.
SAME_CAUSE_MINUTES = 45
#: Chance that an alert ends by accident within a day.
ACCIDENTAL_END = 0.03
#: Evidence in nats that a segment is still low, by which an alert stays open although the whole is back: a segment that
#: the alert names, and another one (which fell along with those).
NAMED_HOLDS, OTHERS_HOLD = 2.0, 8.0
#: Evidence in nats for half a drop in the minute before its onset, or of its end, that makes it part of it.
EDGE_EVIDENCE = 1.0
#: Expected conversions from which on what is left of a rate is told from the latest minutes.
LEVEL_LEAST = 20.0
#: Bounds of the share of the rate that is left, as the end is tested against.
LEFT_LEAST, LEFT_MOST = 0.004, 0.85
#: The whole is named (with its segments) if its own loss shows with so many nats; else the segment itself.
WHOLE_SHOWS = 3.0
#: Mix effects under this share of the loss are not looked at.
MIX_MATTERS = 0.15


class Judge:
    """Decides about the incidents of a detector.

    Attributes:
        open: Open incidents by group.
        recent: Ended ones that may come back, by group.
    """

    def __init__(self, config: DetectionConfig, keys: list[SeriesKey]) -> None:
        self.config = config
        self.keys = keys
        self.index = {k: i for i, k in enumerate(keys)}
        self.open: dict[str, list[Incident]] = {}
        self.recent: dict[str, list[Incident]] = {}
        families: dict[tuple[str, str], list[int]] = {}
        for i, k in enumerate(keys):
            families.setdefault((k.group, k.goal), []).append(i)
        self.by_goal: dict[tuple[str, str], Ints] = {k: np.array(v) for k, v in families.items()}
        self.by_group: dict[str, int] = {k.group: i for i, k in reversed(list(enumerate(keys)))}
        self.late = False
        self.release: str | None = None

    # ---- opening ------------------------------------------------------------------------------------------------

    def fell(
        self, st: SeriesState, ex: Expectation, group: str, cols: list[int], now: int
    ) -> list[AlertChange]:
        """Series `cols` of a group crossed their thresholds in the minute before `now`."""
        out: list[AlertChange] = []
        by_goal: dict[str, list[int]] = {}
        for c in cols:
            by_goal.setdefault(self.keys[c].goal, []).append(c)
        for goal, fallen in by_goal.items():
            incident = self._joinable(st, group, goal, fallen)
            if incident is not None:
                incident.members |= {self.keys[c] for c in fallen}
                if incident.quiet_since is not None:
                    self._flapped(incident, now)
                self._watch(st, ex, incident, fallen, now)
                continue
            again = self._returning(group, goal, now)
            if again is not None:
                out += self._reopen(st, ex, again, fallen, now)
                continue
            out += self._raise(st, ex, group, goal, fallen, now)
        return out

    def _joinable(self, st: SeriesState, group: str, goal: str, cols: list[int]) -> Incident | None:
        for i in self.open.get(group, []):
            if not i.is_rate:
                continue
            if any(k.goal == goal for k in i.members):
                return i
            onset = min(int(st.onset[_best(st, c), c]) for c in cols)
            if abs(onset - i.onset) <= SAME_CAUSE_MINUTES:
                return i
        return None

    def _returning(self, group: str, goal: str, now: int) -> Incident | None:
        for i in self.recent.get(group, []):
            ago = now - (i.resolved or now)
            if i.is_rate and not i.adopted and i.lead.goal == goal and ago <= self.config.reopen_minutes:
                return i
        return None

    def _raise(
        self, st: SeriesState, ex: Expectation, group: str, goal: str, cols: list[int], now: int
    ) -> list[AlertChange]:
        lead = max(cols, key=lambda c: (float(_scores(st, c).max()), -c))
        column = _best(st, lead)
        onset = int(st.onset[column, lead])
        family = self.by_goal[group, goal]
        x, m = self._since(st, family, onset, now)
        at = int(np.flatnonzero(family == lead)[0])
        x[at] = st.sum_x[lead] - st.x_at[column, lead]
        m[at] = st.sum_m[lead] - st.m_at[column, lead]
        if _begun_before(st, lead, column, onset, now):
            onset -= 1
            x += st.minute_x[onset % 60, family]
            m += st.minute_m[onset % 60, family]
        if self.keys[lead].is_whole and not self._is_rate_effect(st, ex, lead, column, family, x, m, now):
            st.hold_until[lead] = now + ASK_AGAIN
            rest = [c for c in cols if c != lead]
            return self._raise(st, ex, group, goal, rest, now) if rest else []
        named = lead
        for k, c in enumerate(family):
            if (
                self.keys[c].is_whole
                and deviance(x[k], m[k]) >= WHOLE_SHOWS
                and m[k] - x[k] >= 0.5 * (m[at] - x[at])
            ):
                named = int(c)
        key = self.keys[named]
        incident = Incident(
            alert_id(key, "rate_drop", onset), "rate_drop", group, key, onset, now, {self.keys[c] for c in cols},
            release=self.release, late=self.late,
        )  # fmt: skip
        st.alert_x[family], st.alert_m[family] = x, m
        st.recent_x[family], st.recent_m[family] = x, m
        st.paused[family] = 1
        _forget(st, family, onset, now)
        watched = sorted({*cols, named})
        incident.members |= {key}
        self._watch(st, ex, incident, watched, now)
        self.open.setdefault(group, []).append(incident)
        self._measure(st, ex, incident, now)
        incident.schedule(now)
        return self._say(incident, "firing", now)

    def _is_rate_effect(
        self, st: SeriesState, ex: Expectation, lead: int, column: int, family: Ints, x: Any, m: Any, now: int
    ) -> bool:
        """Whether a fall of the whole remains if its visitors' move between segments is allowed for."""
        whole = int(np.flatnonzero(family == lead)[0])
        for positions in self._dimensions(family).values():
            learned = all(st.ready[family[p]] and st.learned_hours[family[p]] >= 12 for p in positions)
            if len(positions) < 2 or not learned:
                continue
            mixed = float(m[positions].sum())
            if m[whole] - mixed < MIX_MATTERS * (m[whole] - x[whole]):
                continue
            noise = _noise(ex, lead, now - int(st.onset[column, lead]))
            left = x[whole] * LOG_REST[column] + DROPS[column] * mixed
            if left / (1 + noise * mixed) < ex.threshold[column, lead]:
                return False
        return True

    def _watch(self, st: SeriesState, ex: Expectation, incident: Incident, cols: list[int], now: int) -> None:
        """Begin to wait for the end in series that fell."""
        for c in cols:
            family = self.by_goal[incident.group, self.keys[c].goal]
            if not st.paused[c]:
                onset = int(st.onset[_best(st, c), c])
                st.alert_x[family], st.alert_m[family] = self._since(st, family, min(onset, now), now)
                st.recent_x[family], st.recent_m[family] = st.alert_x[family], st.alert_m[family]
                st.paused[family] = 1
                _forget(st, family, onset, now)
            if not st.alerting[c]:
                st.alerting[c] = 1
                column = _best(st, c)
                x, m = st.sum_x[c] - st.x_at[column, c], st.sum_m[c] - st.m_at[column, c]
                self._await_end(st, ex, c, (x + 0.3) / (m + 1.0), now)

    def _await_end(self, st: SeriesState, ex: Expectation, c: int, left: float, now: int) -> None:
        left = min(max(left, LEFT_LEAST), LEFT_MOST)
        st.remaining[c] = left
        info = left - 1.0 - math.log(left) if left < 1 else 0.0
        per_minute = max(float(st.per_minute[c]), 1e-3)
        st.recovery_at[c] = max(math.log(1 + 1440 * per_minute * left * info / ACCIDENTAL_END), 3.0)
        st.total[RECOVERY, c] = st.low[RECOVERY, c] = 0.0
        st.x_at[RECOVERY, c], st.m_at[RECOVERY, c] = st.sum_x[c], st.sum_m[c]
        st.onset[RECOVERY, c] = now

    # ---- while it is open -----------------------------------------------------------------------------------------

    def review(self, st: SeriesState, ex: Expectation, incident: Incident, now: int) -> list[AlertChange]:
        """Look at an open incident again: how large, which kind, where; say so if it changed."""
        if incident.quiet_since is not None:
            quiet = now - incident.quiet_since
            if quiet >= max(FLAP_QUIET, FLAP_FACTOR * incident.longest_quiet):
                return self._end(st, ex, incident, now, incident.quiet_since)
            incident.next_review = now + 1
            return []
        if not incident.is_rate:
            incident.schedule(now)
            return []
        if now - incident.onset >= self.config.adopt_after_minutes:
            return self._adopt(st, ex, incident, now)
        for key in incident.members:
            c = self.index[key]
            if st.alerting[c] and st.recent_m[c] >= LEVEL_LEAST:
                self._level(st, ex, c, now)
        before = incident.said
        self._measure(st, ex, incident, now)
        incident.schedule(now)
        return self._say(incident, "updated", now) if incident.said != before else []

    def _level(self, st: SeriesState, ex: Expectation, c: int, now: int) -> None:
        """What is left of a fallen rate, from the minutes since it was looked at last; they begin anew then.

        A rise may have begun in between: it is no part of what is left. Once the rise is certain it is the new level.
        """
        begin = int(st.onset[RECOVERY, c])
        x, m = float(st.recent_x[c]), float(st.recent_m[c])
        rise_x, rise_m = (float(a[0]) for a in self._since(st, np.array([c]), begin, now))
        if st.total[RECOVERY, c] - st.low[RECOVERY, c] >= st.recovery_at[c]:
            # The minute of the repair is half broken.
            if now - begin - 1 < RECOVERY_MINUTES:
                return
            x, m = (float(a[0]) for a in self._since(st, np.array([c]), begin + 1, now))
            rise_x = rise_m = 0.0
            if x >= RECOVERY_RATE * m - 2 * math.sqrt(max(x, 1.0) + _noise(ex, c, 60) * m * m):
                return  # it may well be back as it was: more minutes will tell
        else:
            x, m = max(x - rise_x, 0.0), m - rise_m
        st.recent_x[c] = st.recent_m[c] = 0.0
        if m < LEVEL_LEAST:
            return
        recent, left = (x + 0.3) / (m + 1.0), float(st.remaining[c])
        # The first estimate is rather too high: it may hold minutes from before the fall.
        bound = 3.0 if recent > left else 1.5
        if abs(recent - left) > bound * math.sqrt(max(left, 0.02) / m + _noise(ex, c, 60)):
            sums = st.x_at[RECOVERY, c], st.m_at[RECOVERY, c]
            self._await_end(st, ex, c, recent, now)
            left = float(st.remaining[c])
            evidence = -math.log(left) * rise_x - (1.0 - left) * rise_m
            if evidence > 0:
                st.total[RECOVERY, c] = evidence
                st.x_at[RECOVERY, c], st.m_at[RECOVERY, c] = sums
                st.onset[RECOVERY, c] = begin

    def _measure(self, st: SeriesState, ex: Expectation, incident: Incident, now: int) -> None:
        c = self.index[incident.lead]
        x, m = float(st.alert_x[c]), float(st.alert_m[c])
        noise = _noise(ex, c, now - incident.onset)
        incident.left = x / m if m > 0 else 1.0
        incident.expected = float(np.exp(_log_rate(ex, c, now)))
        incident.observed = incident.expected * min(x / m, 1.0) if m > 0 else 0.0
        incident.lost = max(m - x, 0.0)
        wanted = float(np.interp(1.0 - incident.left, DROPS, ex.threshold[:, c]))
        excess = float(deviance(np.array(x), np.array(m))) / (1 + noise * m) - wanted
        for key in incident.members:
            excess = max(excess, self._excess(st, ex, self.index[key], now))
        incident.probability = max(probability(excess), incident.probability if incident.revision else 0.0)
        incident.at_least = at_least_drop(x, m, noise)
        found = self._split(st, ex, incident, noise)
        incident.segments = [tuple(p) for p in found.parts]  # type: ignore[misc]
        incident.kind = self._kind(st, incident, found)
        size = int(math.log2(max(incident.lost, 1.0)))
        incident.said = (incident.kind, tuple((d, v) for d, v, _ in incident.segments), size, incident.flaps)

    def _excess(self, st: SeriesState, ex: Expectation, c: int, now: int) -> float:
        """Evidence of a fallen series above its threshold, in nats."""
        if not st.alerting[c]:
            return -math.inf
        bank = slice(0, len(DROPS))
        m = st.sum_m[c] - st.m_at[bank, c]
        w = np.maximum(now - st.onset[bank, c], 1.0)
        noise = baseline.window_noise(w, ex.white[c], ex.slow[c], ex.hour[c], ex.base[c])
        return float((_scores(st, c) / (1 + noise * m) - ex.threshold[:, c]).max())

    def _split(self, st: SeriesState, ex: Expectation, incident: Incident, noise: float) -> Split:
        if not incident.lead.is_whole:
            return Split(((incident.lead.dimension, incident.lead.value, 1.0),), 0.0, 0.0)  # type: ignore[arg-type]
        family = self.by_goal[incident.group, incident.lead.goal]
        parts = {
            name: (
                [self.keys[family[p]].value for p in positions],
                st.alert_x[family[positions]],
                st.alert_m[family[positions]],
            )
            for name, positions in self._dimensions(family).items()
        }
        c = self.index[incident.lead]
        return split(parts, (float(st.alert_x[c]), float(st.alert_m[c])), noise)

    def _kind(self, st: SeriesState, incident: Incident, found: Split) -> str:
        c = self.index[incident.lead]
        use_recent = st.recent_m[c] >= 10
        x = st.recent_x if use_recent else st.alert_x
        m = st.recent_m if use_recent else st.alert_m
        if incident.quiet_since is not None or incident.flaps:
            return incident.kind
        family = self.by_goal[incident.group, incident.lead.goal]
        for d, v, _ in incident.segments[:1]:
            if d in self.config.producer_dimensions:
                s = self.index.get(SeriesKey(incident.lead.goal, d, v, incident.group))
                if s is not None and is_dead(float(st.alert_x[s]), float(st.alert_m[s])):
                    return "tracking_outage"
        if not incident.lead.is_whole or not is_dead(float(x[c]), float(m[c])):
            return "rate_drop"
        siblings = [s for s in family if s != c and m[s] >= 3]
        return "tracking_outage" if all(x[s] <= 0.15 * m[s] + 1 for s in siblings) else "rate_drop"

    # ---- the end --------------------------------------------------------------------------------------------------

    def recovered(
        self, st: SeriesState, ex: Expectation, group: str, cols: list[int], now: int
    ) -> list[AlertChange]:
        """Series of a group are back to normal."""
        out: list[AlertChange] = []
        for incident in list(self.open.get(group, [])):
            mine = [c for c in cols if self.keys[c] in incident.members]
            if not mine or not incident.is_rate:
                continue
            back_since = min(int(st.onset[RECOVERY, c]) for c in mine)
            for c in mine:
                _rest(st, c, now)
            lead = self.index[incident.lead]
            others = [self.index[k] for k in incident.members if st.alerting[self.index[k]]]
            if lead in mine:
                named = {(d, v) for d, v, _ in incident.segments}
                others = [
                    c
                    for c in others
                    if self._still_down(
                        st, c, back_since, now, NAMED_HOLDS if self._names(c) in named else OTHERS_HOLD
                    )
                ]
            if others:
                continue
            if incident.flaps:
                incident.quiet_since = back_since
                incident.next_review = now + 1
            else:
                out += self._end(st, ex, incident, now, back_since)
        return out

    def _names(self, c: int) -> tuple[str, str]:
        return self.keys[c].dimension, self.keys[c].value

    def _still_down(self, st: SeriesState, c: int, since: int, now: int, evidence: float) -> bool:
        """Whether a member is clearly still low (so many nats) although its whole is back; if not it is let go."""
        x, m = self._since(st, np.array([c]), since, now)
        left = float(st.remaining[c])
        down = float(x[0]) * math.log(left) + (1.0 - left) * float(m[0]) > evidence
        if not down:
            _rest(st, c, now)
        return down

    def _end(
        self, st: SeriesState, ex: Expectation, incident: Incident, now: int, back_since: int | None = None
    ) -> list[AlertChange]:
        """End an incident; what it cost is counted up to the minute in which the rate came back."""
        incident.resolved = now
        if incident.is_rate:
            c = self.index[incident.lead]
            since = back_since if back_since is not None else now
            if _half_broken(st, c, since, now):
                since += 1
            x, m = self._since(st, np.array([c]), since, now)
            before_x, before_m = max(float(st.alert_x[c] - x[0]), 0.0), max(float(st.alert_m[c] - m[0]), 1e-9)
            incident.lost = max(before_m - before_x, 0.0)
            incident.observed = incident.expected * min(before_x / before_m, 1.0)
        self._close(st, incident)
        return self._say(incident, "resolved", now)

    def _close(self, st: SeriesState, incident: Incident) -> None:
        self.open[incident.group].remove(incident)
        self.recent.setdefault(incident.group, []).append(incident)
        if not incident.is_rate:
            return
        kept = {k.goal for i in self.open[incident.group] if i.is_rate for k in i.members}
        for goal in {k.goal for k in incident.members} - kept:
            family = self.by_goal[incident.group, goal]
            st.paused[family] = 0
            st.block_x[family] = st.block_m[family] = st.block_minutes[family] = 0.0

    def _reopen(
        self, st: SeriesState, ex: Expectation, incident: Incident, cols: list[int], now: int
    ) -> list[AlertChange]:
        """The drop came back soon after its end: the same alert, flapping."""
        self.recent[incident.group].remove(incident)
        incident.longest_quiet = max(incident.longest_quiet, now - (incident.resolved or now))
        incident.resolved = None
        incident.flaps += 1
        incident.members |= {self.keys[c] for c in cols}
        family = self.by_goal[incident.group, incident.lead.goal]
        sums = st.alert_x[family].copy(), st.alert_m[family].copy()
        self._watch(st, ex, incident, cols, now)
        st.alert_x[family] += sums[0]
        st.alert_m[family] += sums[1]
        self.open.setdefault(incident.group, []).append(incident)
        self._measure(st, ex, incident, now)
        incident.schedule(now)
        return self._say(incident, "updated", now)

    def _flapped(self, incident: Incident, now: int) -> None:
        """A member fell again in the quiet time of a flapping incident."""
        incident.longest_quiet = max(incident.longest_quiet, now - (incident.quiet_since or now))
        incident.quiet_since = None
        incident.flaps += 1
        incident.schedule(now)

    def _adopt(self, st: SeriesState, ex: Expectation, incident: Incident, now: int) -> list[AlertChange]:
        """After days at the new level the level becomes normal."""
        incident.adopted = True
        for key in incident.members:
            c = self.index[key]
            if st.alerting[c]:
                change = math.log(max(float(st.remaining[c]), 0.01))
                st.mean[c, 0] += change
                ex.log_rate[c] += change
                st.covariance[c, 0] += 0.01
                _rest(st, c, now)
        return self._end(st, ex, incident, now)

    # ---- traffic and missing data -------------------------------------------------------------------------------

    def about_traffic(
        self,
        st: SeriesState,
        ex: Expectation,
        c: int,
        kind: str,
        now: int,
        segments: list[tuple[str, str, float]],
        usual: float,
    ) -> list[AlertChange]:
        """Open (or turn into) an incident about traffic or missing data, on the whole series `c`."""
        key = self.keys[c]
        column = TRAFFIC if kind == "traffic_drop" else INTENT
        onset = int(st.onset[column, c]) if kind != "stale" else now - int(st.gap[c])
        for i in self.open.get(key.group, []):
            if i.kind == kind:
                return []
            if kind == "stale" and i.kind == "traffic_drop":
                i.kind = kind
                return self._say(i, "updated", now)
        incident = Incident(
            alert_id(key, kind, onset), kind, key.group, key, onset, now, {key}, release=self.release, late=self.late,
            probability=0.99, segments=segments, visitors_ratio=usual,
        )  # fmt: skip
        incident.expected = float(np.exp(_log_rate(ex, c, now))) if st.ready[c] else 0.0
        x, m = st.sum_x[c] - st.x_at[INTENT, c], st.sum_u[c] - st.m_at[INTENT, c]
        known = kind == "low_intent_traffic" and m > 0
        incident.observed = incident.expected * min(float(x / m), 1.0) if known else incident.expected
        self.open.setdefault(key.group, []).append(incident)
        incident.schedule(now)
        return self._say(incident, "firing", now)

    def over(self, st: SeriesState, ex: Expectation, incident: Incident, now: int) -> list[AlertChange]:
        """An incident about traffic or missing data ended."""
        return self._end(st, ex, incident, now)

    # ---- small things -------------------------------------------------------------------------------------------

    def _since(self, st: SeriesState, cols: Ints, onset: int, now: int) -> tuple[Any, Any]:
        """Conversions and expected conversions of series since a minute, from the rings (hours older than the last)."""
        x, m = np.zeros(len(cols)), np.zeros(len(cols))
        length = min(max(now - onset, 0), 60)
        slots = [(now - 1 - k) % 60 for k in range(length)]
        x += st.minute_x[np.ix_(np.array(slots, np.int64), cols)].sum(0)
        m += st.minute_m[np.ix_(np.array(slots, np.int64), cols)].astype(np.float64).sum(0)
        first, hour = now - length, (now - 1) // 60
        for h in range(hour - 1, hour - RING_HOURS, -1):
            part = max(0, min(first, h * 60 + 60) - max(onset, h * 60)) / 60
            if part <= 0:
                continue
            k = h % RING_HOURS
            off = self.config.utc_offset_minutes
            rate = np.exp(
                st.mean[cols] @ baseline.basis(h * 60 + 30, off) + learning.rest_of_hour(st, cols, h, off)
            )
            x += part * st.hour_x[cols, k]
            m += part * st.hour_m[cols, k] * rate
        return x, m

    def _dimensions(self, family: Ints) -> dict[str, list[int]]:
        out: dict[str, list[int]] = {}
        for p, c in enumerate(family):
            if not self.keys[c].is_whole:
                out.setdefault(self.keys[c].dimension, []).append(p)
        return out

    def is_muted(self, incident: Incident, now: int) -> bool:
        """Whether a mute keeps an incident quiet: its series is muted, or every segment in which it sits."""
        lead = incident.lead
        where = [SeriesKey(lead.goal, d, v, lead.group) for d, v, _ in incident.segments]
        return self.mutes(lead, now) or (bool(where) and all(self.mutes(key, now) for key in where))

    def mutes(self, key: SeriesKey, now: int) -> bool:
        """Whether a series is muted in the minute before `now`."""
        return any(s.covers(now - 1) and s.matches(key) for s in self.config.mute)

    def say(self, incident: Incident, state: str, now: int) -> AlertChange:
        """The next record of an incident, and whether it is published.

        Who was told of an alert is told of its end too, muted or not; who was told nothing is not told of its end. What
        is told first is `firing`, whenever the mute ends.
        """
        incident.muted = self.is_muted(incident, now)
        over = state == "resolved"
        if state == "updated" and not incident.muted and not incident.told:
            state = "firing"
        published = incident.told if over else not incident.muted
        incident.told = not over and (incident.told or published)
        record = incident.record(state, now, self.config.utc_offset_minutes)
        return AlertChange(record, incident.lead, muted=not published)

    def _say(self, incident: Incident, state: str, now: int) -> list[AlertChange]:
        return [self.say(incident, state, now)]


def _best(st: SeriesState, c: int) -> int:
    """Column of the bank whose excursion is the likeliest, drop and onset together."""
    return int(np.argmax(_scores(st, c)))


def _begun_before(st: SeriesState, c: int, column: int, onset: int, now: int) -> bool:
    """Whether the minute before the onset was already half broken: it happens within a minute, not between two."""
    if now - onset >= 60:
        return False
    half = DROPS[column] / 2
    x, m = float(st.minute_x[(onset - 1) % 60, c]), float(st.minute_m[(onset - 1) % 60, c])
    return bool(x * math.log(1.0 - half) + half * m > EDGE_EVIDENCE)


def _half_broken(st: SeriesState, c: int, minute: int, now: int) -> bool:
    """Whether the first minute of a rise was still half broken."""
    if not 0 < now - minute < 60:
        return False
    half = (1.0 - float(st.remaining[c] or 0.5)) / 2
    x, m = float(st.minute_x[minute % 60, c]), float(st.minute_m[minute % 60, c])
    return x * math.log(1.0 - half) + half * m > EDGE_EVIDENCE


def _scores(st: SeriesState, c: int) -> NDArray[np.float64]:
    bank = slice(0, len(DROPS))
    return np.asarray(st.total[bank, c] - st.low[bank, c])


def _noise(ex: Expectation, c: int, minutes: int) -> float:
    w = np.array(float(max(minutes, 1)))
    return float(baseline.window_noise(w, ex.white[c], ex.slow[c], ex.hour[c], ex.base[c]))


def _log_rate(ex: Expectation, c: int, now: int) -> float:
    j = (now - 1) % 60
    return float(ex.log_rate[c] + ex.log_rate_step[c] * (j + 0.5) - ex.guard[c])


def _forget(st: SeriesState, cols: Ints, onset: int, now: int) -> None:
    """Throw away the blocks since the onset that still wait to be learned."""
    for c in cols:
        for hour in range(max(onset // 60, (now - 1) // 60 - int(st.pending[c])), (now - 1) // 60):
            st.hour_m[c, hour % RING_HOURS] = 0.0
        st.block_x[c] = st.block_m[c] = st.block_minutes[c] = 0.0


def _rest(st: SeriesState, c: int, now: int) -> None:
    """End the alert of a series: its CUSUMs begin anew."""
    st.alerting[c] = 0
    st.remaining[c] = 0.0
    bank = slice(0, len(DROPS))
    st.total[bank, c] = st.low[bank, c] = 0.0
    st.x_at[bank, c] = st.sum_x[c]
    st.m_at[bank, c] = st.sum_m[c]
    st.onset[bank, c] = now
