"""What is free in the heap goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import psutil
from streams.heap import give_back, share_one_heap
share_one_heap()
rss = lambda: psutil.Process().memory_info().rss >> 20
some = [bytes(2_000) for _ in range(50_000)]
pins = some[::100]  # the heap cannot shrink at its end
del some
before = rss()
give_back()
print(before - rss())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to")
def test_free_memory_is_given_back_though_the_heap_has_holes() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 40, "MiB given back of some 95 that were free"
