"""Trying again while a broker is away: what cannot be given up is repeated until it works, and says so in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka.errors import KafkaError

from streams.errors import BrokerError

log = logging.getLogger(__name__)

T = TypeVar("T")
#: Pause between two tries, seconds.
PAUSE_S = 1.0
#: What a broker that is away, or was just moved, raises.
PASSING = (KafkaError, BrokerError, OSError, TimeoutError)


async def until_done(what: str, attempt: Callable[[], Awaitable[T]], pause_s: float = PAUSE_S) -> T:
    """The result of `attempt`, which is repeated as long as the broker is the reason that it fails.

    Args:
        what: What is being tried, for the log: "saving partition 3".
        attempt: Makes one try; must be safe to repeat after it failed half-way.
        pause_s: Seconds between two tries.
    """
    tries = 0
    while True:
        try:
            return await attempt()
        except PASSING as error:
            tries += 1
            # The first, then ever more seldom: 1, 2, 4, 8, … tries.
            if tries & (tries - 1) == 0:
                log.warning("%s failed (%s); trying again in %g s", what, _short(error), pause_s)
            await asyncio.sleep(pause_s)


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
