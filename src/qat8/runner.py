"""What tasks.py calls: a stage in the chosen runtime, with its step announced and its failure passed on."""

from __future__ import annotations

import time
from collections.abc import Callable

from invoke.exceptions import Exit

from qat8.console import say
from qat8.errors import UsageError
from qat8.runtimes import local

RUNTIMES: dict[str, Callable[[str, list[str]], int]] = {"local": local.run}


def flags(**values) -> list[str]:
    """Keyword arguments of a task -> the stage's flags; None, "" and False are left to the stage's defaults."""
    argv = []
    for name, value in values.items():
        for item in value if isinstance(value, list) else [value]:
            if item is True:
                argv.append(f"--{name.replace('_', '-')}")
            elif item not in (None, "", False):
                argv.append(f"--{name.replace('_', '-')}={item}")
    return argv


def run(stage: str, argv: list[str], runtime: str = "local") -> None:
    """Run one stage.

    Raises:
        Exit: with the stage's exit code; the stage has said why on stderr.
    """
    if runtime not in RUNTIMES:
        missing = UsageError(f"runtime {runtime!r} is not there", f"one of {', '.join(RUNTIMES)}")
        raise Exit(f"error: {missing}", missing.exit_code)
    start = time.perf_counter()
    say(f"== {stage.replace('_', ' ')}")
    if code := RUNTIMES[runtime](stage, argv):
        raise Exit(code=code)
    say(f"== {stage.replace('_', ' ')}: {time.perf_counter() - start:.1f} s")
