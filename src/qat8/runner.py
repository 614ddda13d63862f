"""What tasks.py calls: a stage in the chosen runtime, with its step announced and its failure passed on."""

from __future__ import annotations

import signal
import time

from invoke.exceptions import Exit

from qat8.console import say
from qat8.errors import HUNG_UP, INTERRUPTED, TERMINATED, StageError, UsageError
from qat8.runtimes import local

RUNTIMES = ("local", "docker")
HOSTS = ("hosts", "host_timeout")


def flags(**values) -> list[str]:
    """Keyword arguments of a task -> the stage's flags; None, "" and False are left to the stage's defaults."""
    argv = []
    for name, value in values.items():
        for item in value if isinstance(value, list) else [value]:
            if item is True:
                argv.append(f"--{name.replace('_', '-')}")
            elif item is not None and item is not False and item != "":
                argv.append(f"--{name.replace('_', '-')}={item}")
    return argv


def run(stage: str, argv: list[str], runtime: str = "local", **container: str) -> None:
    """Run one stage; `container` holds what only containers have (`runtimes.docker.Options`), empty: not given.

    Raises:
        Exit: with the stage's exit code; the stage has said why on stderr.
    """
    if wrong := _misused(runtime, container):
        raise Exit(f"error: {wrong}", wrong.exit_code)
    start = time.perf_counter()
    say(f"== {stage.replace('_', ' ')}")
    if code := _start(stage, argv, runtime, container):
        code = 128 - code if code < 0 else code  # by the shells' convention, and a container's
        death = _death(stage, code)
        raise Exit(death, StageError.exit_code if death else code)
    say(f"== {stage.replace('_', ' ')}: {time.perf_counter() - start:.1f} s")


def _death(stage: str, code: int) -> str | None:
    """A process that a signal ended has not said why, unless it was asked to end."""
    if code <= 128 or code in (HUNG_UP, INTERRUPTED, TERMINATED):
        return None
    number = code - 128
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    hint = "memory, as a rule" if number == signal.SIGKILL else "a damaged model or library, as a rule"
    error = StageError(f"{stage.replace('_', ' ')} was ended by {name}: {hint}", "it to end by itself",
                       "run it again; QAT8_DEBUG=1 and its messages above may say more")  # fmt: skip
    return f"error: {error}"


def _misused(runtime: str, container: dict[str, str]) -> UsageError | None:
    if runtime not in RUNTIMES:
        return UsageError(f"runtime {runtime!r} is not there", f"one of {', '.join(RUNTIMES)}")
    given = [f"--{name}" for name, value in container.items() if value and name not in ("cpus", *HOSTS)]
    if container.get("hosts"):
        given = [flag for flag in given if flag != "--image"]
        return UsageError(f"{given[0]} with --hosts", "one job per NUMA node, which --hosts sees to") if given else None
    if container.get("host_timeout"):
        return UsageError("--host-timeout without --hosts", "names of servers")
    if given and runtime != "docker":
        return UsageError(f"{', '.join(given)} without a container", "--runtime=docker")
    return None


def _start(stage: str, argv: list[str], runtime: str, container: dict[str, str]) -> int:
    servers = {name: container.pop(name, "") for name in HOSTS}
    if servers["hosts"]:
        return local.run(f"{stage}_hosts", [*argv, *flags(**servers, image=container["image"])])
    if runtime == "local":
        return local.run(stage, argv)
    from qat8.runtimes import docker  # here: it would cost every `inv` the time to read docker's SDK

    return docker.run(stage, argv, docker.Options(**container))
