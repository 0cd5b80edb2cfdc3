"""Runs a command that must not outlive its parent, where the kernel cannot see to it (macOS, Windows).

Run as a script: `python deathwatch.py COMMAND ARGUMENT…`. The parent holds the other end of our standard
input and never writes to it; when it dies, however that happens, the pipe closes and the command is killed.
On Linux `prctl(PR_SET_PDEATHSIG)` does the same without a process in between, see `streams/embedded.py`.

Imports nothing of the project, so that it starts fast.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from types import FrameType


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
