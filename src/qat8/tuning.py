"""The host's settings that make figures unsteady, and what to set them to; changed only when a user asks for it.

Sources: the kernel's admin-guide/pm/intel_pstate.rst (no_turbo), admin-guide/pm/cpufreq.rst (boost, scaling_governor),
admin-guide/sysctl/kernel.rst (numa_balancing).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from qat8 import artifacts, kernel
from qat8.errors import DataError, MachineError

_SETTINGS = ("sys/", "proc/sys/")
STATE = artifacts.DATA / "host-settings.json"
BOOT_ID = "proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Setting:
    """A file of the kernel, below its root; `wanted` is what a measurement wants in it."""

    path: str
    found: str
    wanted: str
    why: str

    def command(self) -> str:
        return f"echo {self.wanted} | sudo tee /{self.path}"


def changes() -> list[Setting]:
    """What this machine has and has set otherwise; empty on a virtual machine, which has none of these."""
    whys = {
        f"{kernel.CPUS}/intel_pstate/no_turbo": ("1", "turbo: the clock depends on heat and on the other cores"),
        f"{kernel.CPUS}/cpufreq/boost": ("0", "turbo: the clock depends on heat and on the other cores"),
        **{f"{kernel.CPUS}/cpu{n}/cpufreq/scaling_governor": ("performance", "the governor lowers the clock")
           for n in kernel.cpus()},
        "proc/sys/kernel/numa_balancing": ("0", "pages move between nodes while they are used"),
    }  # fmt: skip
    found = {path: kernel.read(path) for path in whys}
    return [Setting(p, found[p], w, why) for p, (w, why) in whys.items() if found[p] is not None and found[p] != w]


def apply() -> list[Setting]:
    """Make the changes. What was set before is written to `STATE` first, so that a crash loses nothing.

    Raises:
        MachineError: a setting cannot be written; those before it are changed and recorded.
    """
    asked = changes()
    if asked:
        known = _state()["before"] if STATE.exists() and not _restarted() else {}
        # Applied twice: what the first time found is what the user had.
        before = {**{setting.path: setting.found for setting in asked}, **known}
        with artifacts.atomic_file(STATE) as temporary:
            temporary.write_text(json.dumps({"boot": kernel.read(BOOT_ID), "before": before}, indent=1) + "\n")
    for setting in asked:
        _write(setting.path, setting.wanted)
    return asked


def restore() -> dict[str, str]:
    """Put back what `apply` changed; path -> value. Empty when nothing was, or when a restart has undone it.

    Raises:
        MachineError: a setting cannot be written; the record stays, so that it can be tried again.
    """
    if not STATE.exists():
        return {}
    before = {} if _restarted() else _state()["before"]
    for path, value in before.items():
        if kernel.read(path) != value:
            _write(path, value)
    STATE.unlink()
    return before


def _state() -> dict:
    try:
        found = json.loads(STATE.read_text())
        before = {str(path): str(value) for path, value in found["before"].items()}
        if not all(path.startswith(_SETTINGS) and ".." not in path for path in before):
            raise ValueError  # the next step, with root's rights, would write to any file
        return {"boot": found["boot"], "before": before}
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise DataError(
            f"{STATE} is damaged", "what --apply wrote", "put the settings back by hand, then remove it"
        ) from e


def _restarted() -> bool:
    """Settings of this kind do not outlive a restart."""
    return _state()["boot"] != kernel.read(BOOT_ID)


def _write(path: str, value: str) -> None:
    target = kernel.ROOT / path
    try:
        # Not created: a setting that is gone (its CPU was taken offline) must not become a file.
        fd = os.open(target, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(fd, f"{value}\n".encode())
        finally:
            os.close(fd)
    except OSError as e:
        raise MachineError(f"/{path}: {e.strerror}", f"to write {value}", "run it as root on the host itself") from e
