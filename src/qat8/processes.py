"""Starting programs: argv lists, CPUs pinned, failures turned into errors that keep the cause's exit code."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Sequence

from qat8 import errors
from qat8.errors import INTERRUPTED, MachineError, StageError, UsageError

_BY_CODE = {c.exit_code: c for c in errors.QatError.__subclasses__()}


def parse_cpus(text: str) -> list[int]:
    """`0-3,8` -> [0, 1, 2, 3, 8], checked against the CPUs that this process may use.

    Raises:
        UsageError: not such a list, or a CPU that is not there.
    """
    cpus: set[int] = set()
    allowed = os.sched_getaffinity(0)
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            low, high = int(first), int(last if dash else first)
            if low > high:
                raise ValueError
            cpus |= set(range(low, min(high, max(low, *allowed) + 1) + 1))  # one too many is enough to be refused
    except ValueError:
        raise UsageError(f"--cpus {text!r}", "CPU numbers such as 0-3 or 0,2") from None
    if not cpus <= allowed:
        raise UsageError(
            f"--cpus {text!r}", f"some of {','.join(map(str, sorted(allowed)))}, which this process may use"
        )
    return sorted(cpus)


def pinned(cpus: Sequence[int], command: Sequence[str]) -> list[str]:
    """The command under taskset, as a user would type it to reproduce the figure."""
    return ["taskset", "--cpu-list", ",".join(map(str, cpus)), *command]


def openmp(threads: int) -> dict[str, str]:
    """The tutorial's settings (section 4.2): threads bound to cores, asleep 1 ms after their work."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "KMP_AFFINITY": "granularity=fine,compact,1,0",
        "KMP_BLOCKTIME": "1",
    }


def ends_with_parent(signal_number: int = signal.SIGKILL) -> Callable[[], None]:
    """For a child to call first (`preexec_fn`): it gets this signal when the process that started it is killed.

    Else it would go on by itself: write what nobody holds a lock for any more, or disturb the next measurement.
    """
    parent, prctl, pr_set_pdeathsig = os.getpid(), ctypes.CDLL(None).prctl, 1

    def call() -> None:
        prctl(pr_set_pdeathsig, signal_number)
        if os.getppid() != parent:  # killed meanwhile
            os._exit(1)

    return call


def capture(command: Sequence[str], environment: dict[str, str] | None = None, timeout: float = 1800) -> str:
    """Run to the end and return stdout.

    Raises:
        StageError, or the class that the program's exit code stands for: it failed; its error line is passed on.
        MachineError: it is not installed.
    """
    try:
        done = subprocess.run(
            command, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=timeout, preexec_fn=ends_with_parent(),
        )  # fmt: skip
    except FileNotFoundError:
        raise MachineError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise StageError(f"{command[0]} did not end within {timeout:.0f} s") from None
    if done.returncode:
        raise failure(command, done.returncode, done.stderr)
    return done.stdout


def failure(command: Sequence[str], code: int, stderr: str) -> errors.QatError:
    """The error that a failed program stands for."""
    if code in (-signal.SIGINT, INTERRUPTED):
        raise KeyboardInterrupt
    lines = [line for line in stderr.splitlines() if line.strip()] or ["no message"]
    said = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1]).removeprefix("error: ")
    if "error while loading shared libraries" in said:  # built in an environment that is gone
        return MachineError(said, next_step="inv build.tester")
    how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return _BY_CODE.get(code, StageError)(f"{command[0]}: {said} ({how})")
