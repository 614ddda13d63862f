"""Stages as processes of this machine, in the interpreter that runs Invoke."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from qat8 import processes
from qat8.errors import INTERRUPTED


def run(stage: str, argv: list[str]) -> int:
    """Run `python -m qat8.stages.STAGE ARGV` on this terminal to its end; its exit code.

    Ctrl-C reaches the stage too, as a member of the same process group: it is waited for, so that it can say where it
    stopped and leave nothing half-written.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", f"qat8.stages.{stage}", *argv], preexec_fn=processes.ends_with_parent(signal.SIGTERM)
    )
    try:
        return child.wait()
    except KeyboardInterrupt:
        deadline = time.monotonic() + 30
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        child.kill()
        return child.wait() or INTERRUPTED
