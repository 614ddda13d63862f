"""Stages as processes of this machine, in the interpreter that runs Invoke."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from qat8 import processes, signals

_GRACE_SECONDS = 30


def run(stage: str, argv: list[str]) -> int:
    """Run `python -m qat8.stages.STAGE ARGV` on this terminal to its end; its exit code.

    A signal that asks this process to end is passed on, and the stage is waited for, so that it can say where it
    stopped and leave nothing half-written. (Ctrl-C it has got already, as a member of this group: twice is once.)
    """
    child = None
    with signals.handled():
        try:
            with signals.held():  # until the stage has handlers of its own: it says why it ended
                child = subprocess.Popen(
                    [sys.executable, "-m", f"qat8.stages.{stage}", *argv],
                    preexec_fn=processes.ends_with_parent(signal.SIGTERM),
                )
            return child.wait()
        except KeyboardInterrupt as e:
            if child is None:
                raise
            return _ended(child, getattr(e, "number", signal.SIGINT))


def _ended(child: subprocess.Popen, number: int) -> int:
    child.send_signal(number)
    deadline = time.monotonic() + _GRACE_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    code = child.wait()
    if code <= 0:  # it was about to end by itself, or could not say why it ended
        signals.say(number)
    return code if code > 0 else signals.CODES[number]
