"""What a watch keeps over a restart: its minutes, its detectors, and what operators told it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from monitor.detection.config import Span
from monitor.minutes import MINUTE_MS

#: How long (minutes) a new release is thought of as the reason for what happens after it.
RELEASE_MIN = 30


class Mute(msgspec.Struct, array_like=True, frozen=True):
    """An operator's mute; what is None stands for every one.

    Attributes:
        goal: Name of the goal.
        dimension: Name of the dimension, `all` for the whole.
        value: Value of the dimension.
        until: End, epoch seconds of event time.
    """

    goal: str | None
    dimension: str | None
    value: str | None
    until: float

    @property
    def series(self) -> tuple[str | None, str | None, str | None]:
        """Which series it is about."""
        return self.goal, self.dimension, self.value

    @property
    def span(self) -> Span:
        """The same for the detectors."""
        return Span(0, self.until, *self.series)


class Saved(msgspec.Struct, array_like=True, frozen=True):
    """What must survive a restart.

    Attributes:
        version: Of this layout.
        closed: The last minute (of the epoch) that was judged.
        since: The first one.
        producers: Producer (name/version) → event time (epoch ms) of its first event.
        records: Latest record of each alert, open ones and lately resolved ones.
        detector: State of the detectors.
        mutes: Of operators; state of before there were any does not have it.
        next_command: Offset of the first command of operators that has not been obeyed yet; the same.
    """

    version: int
    closed: int | None
    since: int | None
    producers: dict[str, int]
    records: list[dict[str, Any]]
    detector: bytes
    mutes: tuple[Mute, ...] = ()
    next_command: int = 0


def release_before(minute: int, since: int | None, producers: Mapping[str, int]) -> str | None:
    """The release that went out lately, in words; None if there was none.

    Args:
        minute: Now, minutes of the epoch.
        since: First minute judged: what was there from the beginning is no news.
        producers: Producer (name/version) → event time (epoch ms) of its first event.
    """
    if since is None:
        return None
    lately = [
        (first_ms, name)
        for name, first_ms in producers.items()
        if 0 <= minute - first_ms // MINUTE_MS <= RELEASE_MIN
        and first_ms // MINUTE_MS > since + RELEASE_MIN // 3
    ]
    if not lately:
        return None
    first_ms, name = max(lately)
    what, _, version = name.rpartition("/")
    at = datetime.fromtimestamp(first_ms / 1000, UTC).strftime("%H:%M")
    return f"release {version} of {what} went out at {at}" if what else f"{name} began to send at {at}"
