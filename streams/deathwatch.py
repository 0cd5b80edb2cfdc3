"""Two ways to let a child die with its parent, however that happens: by the kernel, or by a pipe.

On Linux the kernel does it (`dies_with_parent`). Elsewhere (macOS, Windows) this module is run as a script
between the two: `python deathwatch.py COMMAND ARGUMENT…`. The parent holds the other end of our standard
input and never writes to it; when it dies the pipe closes, and the command is killed.

Imports nothing of the project, so that it starts fast.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType

_PR_SET_PDEATHSIG = 1


def dies_with_parent() -> Callable[[], None]:
    """The `preexec_fn` of a child that the kernel shall kill when its parent dies (Linux only)."""
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl

    def hook() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def main(command: list[str]) -> int:
    """Runs `command` until it ends, its parent dies or SIGTERM comes; its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the parent's own command line

    def forward(_signal: int, _frame: FrameType | None) -> None:
        child.terminate()

    def watch() -> None:
        os.read(0, 1)  # not sys.stdin: its lock, held here, would abort the interpreter at its end
        child.kill()

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    threading.Thread(target=watch, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
