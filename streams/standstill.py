"""Begins a recovery again that stands still.

Faust reads its tables from their changelogs up to where these ended when it began. If what was fetched for it goes astray
in a rebalance and nothing is written any more, it waits for ever: the worker answers and keeps its partitions, but counts
and tells nothing, without a word in the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

#: How often to look, seconds.
_EVERY_S = 1.0
#: A recovery that has read nothing for so long begins again, seconds. All that it does by itself takes less.
STANDS_STILL_S = 10.0


class Standstill:
    """Looks, once in a while, whether a recovery goes on.

    Args:
        app: The Faust app.
        clock: Seconds that never go back.

    Attributes:
        assigned: Whether partitions are assigned, so that recovery is what is waited for.
        ours: Whether the worker does its own part of the recovery, which tries until it is done.
    """

    def __init__(self, app: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._clock = app, clock
        self.assigned = self.ours = False
        self._seen: tuple[int, dict[Any, Any]] | None = None
        self._since = clock()

    async def watch(self, broker_answers: Callable[[], bool]) -> None:
        """Look until cancelled; not at all while the broker is away."""
        while True:
            await asyncio.sleep(_EVERY_S)
            self.look(broker_answers())

    def look(self, broker_answers: bool) -> None:
        """Begin the recovery again if it has read nothing for `STANDS_STILL_S`."""
        now, recovery = self._clock(), self._app.tables.recovery
        goes_on = not self._app.rebalancing or not self.assigned or self.ours or not broker_answers
        seen = self._app.consumer_generation_id, dict(recovery.active_offsets)
        if goes_on or seen != self._seen:
            self._seen, self._since = seen, now
        elif now - self._since >= STANDS_STILL_S:
            self._since = now
            log.warning("a recovery has read nothing for %g s; it begins again", STANDS_STILL_S)
            recovery.signal_recovery_start.set()
