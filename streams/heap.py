"""The heap of the C library (glibc; on another one nothing is done here): less memory for the same."""

from __future__ import annotations

import contextlib
import ctypes

#: `mallopt`: most heaps.
_M_ARENA_MAX = -8


def share_one_heap() -> None:
    """Let all threads share one heap; before any of them is started.

    What one thread fetches another one lets go, so each heap would keep room that the other one could use as well.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return what is free in the heap to the system: a checkpoint needs much for a moment."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
