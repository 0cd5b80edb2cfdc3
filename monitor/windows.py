"""Durations, sliding windows, and the panes in which a window moves (design, counting rule 7).

All lengths are whole milliseconds of event time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: Milliseconds per unit, in the order in which units may be combined: `1h30m`, never `30m1h`.
UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}

#: Pane lengths to choose from, longest first. Each divides an hour, so panes of windows share their edges.
PANE_LENGTHS_MS = (900_000, 300_000, 60_000, 30_000, 15_000, 10_000, 5_000, 1_000)

#: A window has about this many panes; more of them cost memory and make a number no fresher to the eye.
PANES_WANTED = 60

#: More panes than this are refused: every series of every goal keeps one counter a pane.
MAX_PANES = 1_440

#: The longest duration that is read at all; a longer one is a slip of the pen.
MAX_DURATION_MS = 366 * UNITS_MS["d"]

#: What `parse_duration` reads, in words for people.
DURATION_FORM = "a whole number and a unit of ms, s, m, h or d, such as 30s, 5m, 24h or 1h30m"

_DURATION = re.compile(
    r"(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m(?!s))?(?:(?P<s>\d+)s)?(?:(?P<ms>\d+)ms)?", re.ASCII
)


def parse_duration(text: str) -> int:
    """Milliseconds of a duration.

    >>> parse_duration("5m"), parse_duration("1h30m"), parse_duration("250ms")
    (300000, 5400000, 250)

    Raises:
        ValueError: `text` is no duration, or one above 366 days; the message says what is accepted.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or not text.strip():
        if re.fullmatch(r"\s*\d+\s*", text, re.ASCII):
            digits = text.strip()[:20]
            msg = f"{digits} has no unit: write {digits}s for seconds or {digits}m for minutes"
        else:
            msg = f"{text!r} is no duration: write {DURATION_FORM}"
        raise ValueError(msg)
    total = 0
    for unit, digits in found.groupdict().items():
        if digits is not None:
            # Long digit runs are cut short before int() sees them: the sum is refused either way.
            total += int(digits[:18]) * UNITS_MS[unit]
    if total > MAX_DURATION_MS:
        msg = f"{text.strip()[:40]} is longer than 366 days"
        raise ValueError(msg)
    return total


def format_duration(length_ms: int) -> str:
    """The duration in the largest unit that divides it, else combined from several.

    >>> format_duration(300_000), format_duration(86_400_000), format_duration(5_400_000), format_duration(0)
    ('5m', '1d', '90m', '0s')
    """
    if length_ms == 0:
        return "0s"
    for unit, unit_ms in UNITS_MS.items():
        if length_ms % unit_ms == 0 and length_ms // unit_ms < 1_000:
            return f"{length_ms // unit_ms}{unit}"
    parts = []
    for unit, unit_ms in UNITS_MS.items():
        count, length_ms = divmod(length_ms, unit_ms)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def pane_length(length_ms: int) -> int:
    """Milliseconds of a window's pane: the longest candidate that divides it and is at most 1/60 of it.

    Windows below a minute have panes of a second.

    Raises:
        ValueError: `length_ms` is not a positive whole number of seconds.
    """
    if length_ms <= 0 or length_ms % 1_000:
        msg = (
            f"a window is a whole number of seconds, at least 1s: {format_duration(max(length_ms, 0))} is not"
        )
        raise ValueError(msg)
    longest = max(1_000, length_ms // PANES_WANTED)
    return next(pane for pane in PANE_LENGTHS_MS if pane <= longest and length_ms % pane == 0)


def nearest_lengths(length_ms: int) -> list[int]:
    """The usable window lengths next to `length_ms` (at most one below, one above), in milliseconds.

    "Usable" means at most `MAX_PANES` panes. Above the longest usable length there is only one below.
    """
    longest_usable = MAX_PANES * PANE_LENGTHS_MS[0]
    # A length is at most 15 min from a multiple of 15 min, so the search is short.
    reach = PANE_LENGTHS_MS[0]
    down = min(length_ms // 1_000 * 1_000, longest_usable)
    up = -(-length_ms // 1_000) * 1_000
    return [
        *_first_usable(range(down, max(0, down - reach - 1), -1_000)),
        *_first_usable(range(up, min(up + reach, longest_usable) + 1, 1_000)),
    ]


def _first_usable(lengths: range) -> Iterator[int]:
    for length in lengths:
        if length > 0 and length // pane_length(length) <= MAX_PANES:
            yield length
            return


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding span of event time, right-aligned, that moves pane by pane.

    At time T it holds the panes k with ⌊T/pane⌋ − panes < k ≤ ⌊T/pane⌋.
    """

    name: str
    """The length as the config writes it: the value of the label `window`."""
    length_ms: int
    """Length in milliseconds of event time."""
    pane_ms: int
    """Length of one pane in milliseconds; divides `length_ms`."""

    @property
    def panes(self) -> int:
        """How many panes it holds at any moment, the running one included."""
        return self.length_ms // self.pane_ms

    @classmethod
    def parse(cls, text: str) -> Window:
        """The window of a length such as `5m`.

        >>> Window.parse("5m")
        Window(name='5m', length_ms=300000, pane_ms=5000)

        Raises:
            ValueError: no duration, not a whole number of seconds, or more than `MAX_PANES` panes; the
                message names the reason and the nearest lengths that work.
        """
        length_ms = parse_duration(text)
        pane_ms = pane_length(length_ms)
        if length_ms // pane_ms > MAX_PANES:
            better = " or ".join(format_duration(length) for length in nearest_lengths(length_ms))
            msg = (
                f"a window of {text.strip()} would have {length_ms // pane_ms:,} panes of "
                f"{format_duration(pane_ms)} ({MAX_PANES:,} at most, and a pane must divide its window): "
                f"the nearest better is {better}"
            )
            raise ValueError(msg)
        return cls(text.strip(), length_ms, pane_ms)
