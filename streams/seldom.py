"""Warnings that could come with every event, said once a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

#: How often the log may say the same warning, seconds.
QUIET_S = 60.0


class Seldom:
    """A logger whose warnings on one subject come at most once in `QUIET_S`."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._said: dict[str, float] = {}

    def warn(self, subject: str, text: str, *arguments: object) -> None:
        """Log a warning (with %-arguments), unless one on that subject was logged lately."""
        now = self._clock()
        if now - self._said.get(subject, -QUIET_S) >= QUIET_S:
            self._said[subject] = now
            self._log.warning(text, *arguments)
