"""The last hour of every window and goal, in memory: what the chart of the live page shows.

A ring of slots of event time; each slot keeps the last snapshot that fell into it. Nothing is stored: after a
restart, or when the totals move to another worker, the hour fills anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from monitor.rates import rate, wilson
from monitor.rules import Rules
from monitor.snapshot import ALL, Row, Snapshot

#: Seconds of event time one point of the chart stands for.
STEP_S = 15

#: Seconds of event time the chart reaches back.
SPAN_S = 3_600

#: So few points (at most) at the beginning are a fragment if nothing follows for so many seconds.
FRAGMENT, FRAGMENT_GAP_S = 3, 120

#: Conversions from which on converters per conversion are told from a window.
ENOUGH = 20

#: Length (ms) of the window in whose unit detectors see visitors: those of one minute.
MINUTE_MS = 60_000


class History:
    """Visitors, converters and expectation of the whole, one point every `step_s` seconds of event time.

    Args:
        rules: Windows and goals to remember.
        span_s: Seconds the ring reaches back.
        step_s: Seconds one slot stands for.
    """

    def __init__(self, rules: Rules, *, span_s: int = SPAN_S, step_s: int = STEP_S) -> None:
        self.step_s = step_s
        self._slots = span_s // step_s
        self._windows = {window.name: k for k, window in enumerate(rules.windows)}
        self._lengths_s = {window.name: window.length_ms / 1_000 for window in rules.windows}
        self._goals = {goal.name: k for k, goal in enumerate(rules.goals)}
        self._minute = next((w.name for w in rules.windows if w.length_ms == MINUTE_MS), None)
        self._longest = max(rules.windows, key=lambda w: w.length_ms).name
        self._slot = np.full(self._slots, -1, dtype=np.int64)
        self._visitors = np.zeros((len(self._windows), self._slots), dtype=np.int64)
        self._converters = np.zeros((len(self._windows), len(self._goals), self._slots), dtype=np.int64)
        self._expected = np.full((len(self._windows), len(self._goals), self._slots), np.nan)
        self._latest = -1
        self._first = -1
        self._saw_the_start = False
        self._factor: dict[str, float | None] = {}
        #: (window, goal) → converters per conversion, as it was when there were enough to tell.
        self._once: dict[tuple[str, str], float] = {}

    def record(self, snapshot: Snapshot) -> None:
        """Keep this snapshot as its slot's point; one that is older than the newest slot is not kept."""
        if snapshot.as_of is None:
            return
        slot = int(snapshot.as_of // self.step_s)
        if slot < self._latest - self._slots:  # time was set back: what we have is of another run
            self._latest = self._first = -1
            self._slot[:] = -1
        if slot < self._latest:
            return
        at = slot % self._slots
        for row in snapshot.rows:
            if row.dimension == ALL and row.window in self._windows:
                self._keep(row, at)
        if self._first < 0:
            self._first = slot
            self._saw_the_start = self._nothing_is_older_than_a_minute(at)
        self._slot[at] = slot
        self._latest = slot
        self._factor = {name: self._minutes_per_visitor(name) for name in self._windows}
        self._expected[:, :, at] = np.nan
        for seen in snapshot.detection:
            if seen.dimension == ALL and seen.goal in self._goals and seen.expected is not None:
                for name, index in self._windows.items():
                    expected = self.in_window(seen.expected, name, seen.goal)
                    if expected is not None:
                        self._expected[index, self._goals[seen.goal], at] = expected

    def _keep(self, row: Row, at: int) -> None:
        window = self._windows[row.window]
        self._visitors[window, at] = row.visitors
        for goal, counts in row.goals.items():
            if goal in self._goals:
                self._converters[window, self._goals[goal], at] = counts.converters
                if counts.conversions >= ENOUGH:
                    self._once[row.window, goal] = counts.converters / counts.conversions

    def in_window(self, expected: float, window: str, goal: str) -> float | None:
        """The detectors' expected rate in the unit of a window; None while that is not known.

        Detectors count every conversion, and divide by the visitors of each minute. A visitor who stays ten minutes is
        ten of those and one visitor of the hour, so the same shop has a higher rate per visitor of a longer window: the
        factor is the sum of the minutes' visitors over the visitors of the window. And who buys twice is one converter:
        the other factor is converters per conversion. Neither changes when fewer convert, so a drop leaves the
        expectation as it is. Known for windows up to the span of the ring, if there is a window of one minute.
        """
        factor = self._factor.get(window)
        once = self._once.get((window, goal), 1.0)
        return None if factor is None else min(1.0, expected * factor * once)

    def counts_minutes(self, window: str) -> bool:
        """Whether a window has the unit of the detectors, visitors of a minute."""
        return window == self._minute

    def to_api(self, window: str) -> dict[str, Any]:
        """The form of `/api/v1/history`: parallel lists, oldest first; null where there was no visitor.

        Raises:
            KeyError: No such window.
        """
        index = self._windows[window]
        slots = [s for s in range(self._latest - self._slots + 1, self._latest + 1) if self._holds(s)]
        slots = self._without_fragments(slots)
        at = [s % self._slots for s in slots]
        visitors = self._visitors[index, at].tolist()
        goals = {}
        for goal, k in self._goals.items():
            converters = self._converters[index, k, at].tolist()
            pairs = list(zip(converters, visitors, strict=True))
            intervals = [wilson(part, whole) or (None, None) for part, whole in pairs]
            expected = self._expected[index, k, at].tolist()
            goals[goal] = {
                "rate": [rate(part, whole) for part, whole in pairs],
                "lower": [lower for lower, _ in intervals],
                "upper": [upper for _, upper in intervals],
                "expected": [None if e != e else e for e in expected],  # noqa: PLR0124 - NaN is "not known"
            }
        return {
            "window": window,
            "step": self.step_s,
            "span": self._slots * self.step_s,
            "times": [s * self.step_s for s in slots],
            "visitors": visitors,
            "goals": goals,
        }

    def _minutes_per_visitor(self, window: str) -> float | None:
        length_s = self._lengths_s[window]
        if window == self._minute:
            return 1.0
        if self._minute is None or length_s > self._slots * self.step_s:
            return None
        covered_s = min(length_s, (self._latest - self._first + 1) * self.step_s)
        # The minute before the first full one is still filling.
        full_from = self._first + (60 // self.step_s if covered_s > 60 else 0)
        known = self._slot >= max(self._latest - int(covered_s // self.step_s) + 1, full_from)
        unique = int(self._visitors[self._windows[window], self._latest % self._slots])
        if not unique or not known.any():
            return None
        span_s = covered_s if self._saw_the_start else length_s
        visitors = float(self._visitors[self._windows[self._minute]][known].mean())
        return max(1.0, visitors * max(1.0, span_s / 60) / unique)

    def _without_fragments(self, slots: list[int]) -> list[int]:
        """Without what a catch-up left at the beginning: single points, minutes before all others."""
        for k in range(min(len(slots) - 1, FRAGMENT), 0, -1):
            if slots[k] - slots[k - 1] > FRAGMENT_GAP_S // self.step_s:
                return slots[k:]
        return slots

    def _holds(self, slot: int) -> bool:
        return slot >= 0 and int(self._slot[slot % self._slots]) == slot

    def _nothing_is_older_than_a_minute(self, at: int) -> bool:
        if self._minute is None:
            return False
        longest, minute = self._windows[self._longest], self._windows[self._minute]
        return bool(self._visitors[longest, at] <= self._visitors[minute, at])
