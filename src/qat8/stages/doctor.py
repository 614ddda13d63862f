"""What this host can do, what would make its figures better, and how; changed only by --apply and --restore."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from rich.table import Table

from qat8 import artifacts, cli, environment, instructions, kernel, tuning
from qat8.console import console, say
from qat8.errors import UsageError

NEEDED_GB = 3
LOADED = 0.5  # processes that wanted a CPU, on average over a minute


@dataclass(frozen=True)
class Finding:
    what: str
    ok: bool | None  # None: the machine does not tell
    found: str
    advice: str = ""


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="doctor", description=__doc__)
    parser.flag("fix", default=False, help="print the commands that steady this host")
    parser.flag("apply", default=False, help="run them (as root), and note what was set before")
    parser.flag("restore", default=False, help="put back what --apply changed")
    args = parser.parse_args(argv)
    asked = [name for name in ("fix", "apply", "restore") if getattr(args, name)]
    if len(asked) > 1:
        raise UsageError(f"--{' and --'.join(asked)}", "one of them")
    {"fix": _fix, "apply": _apply, "restore": _restore}[asked[0]]() if asked else _show()


def _show() -> None:
    table = Table("", "what", "found", "what to do", title=environment.cpu()["model"])
    for finding in findings():
        mark = {True: "ok", False: "!", None: "?"}[finding.ok]
        table.add_row(mark, finding.what, finding.found, "" if finding.ok else finding.advice)
    console.print(table)
    if tuning.STATE.exists():
        say("--apply has changed this host's settings; next: inv doctor --restore, when the measurements are done")


def _fix() -> None:
    """Commands on stdout, one a line, to be copied; the reasons are comments."""
    found = tuning.changes()
    for why in dict.fromkeys(setting.why for setting in found):
        say(f"# {why}")
        for setting in found:
            if setting.why == why:
                say(setting.command())
    if not found:
        say("# nothing: turbo, governor and NUMA balancing are right, or not this machine's to set")


def _apply() -> None:
    found = tuning.apply()
    for setting in found:
        say(f"/{setting.path}: {setting.found} -> {setting.wanted} ({setting.why})")
    if found:
        say(f"noted in {artifacts.shown(tuning.STATE)}; next: inv doctor --restore, when the measurements are done")
    else:
        say("nothing to change")


def _restore() -> None:
    found = tuning.restore()
    for path, value in found.items():
        say(f"/{path}: {value}")
    if not found:
        say("nothing to put back")


def findings() -> list[Finding]:
    cpu = environment.cpu()
    turbo, governor = cpu["turbo"], cpu["governor"]
    free = shutil.disk_usage(artifacts.REPOSITORY).free / 1e9
    missing, docker = environment.missing_tools(), environment.docker_engine()
    quota, load = kernel.cgroup_limits()["cpu_quota"], (kernel.load_average() or [0.0])[0]
    fixable = "inv doctor --fix"
    lacking, limit = instructions.shortcomings(), instructions.limit()
    return [
        Finding("AVX-512 VNNI", cpu["vnni"] and not lacking, "; ".join(lacking) or "yes" if cpu["vnni"] else "no",
                f"unset {limit[0]}" if cpu["vnni"] and limit else
                "INT8 gains about 1.5x without it (tutorial, Xeon Gold 6148); use Cascade Lake or newer"),
        Finding("turbo", None if turbo is None else not turbo, {None: "not told", True: "on", False: "off"}[turbo],
                fixable if turbo else "the host decides; compare FP32 and INT8 of one run only"),
        Finding("frequency governor", None if governor is None else governor == "performance", governor or "not told",
                fixable if governor else "the host decides"),
        Finding("SMT", not cpu["smt"], "on" if cpu["smt"] else "off", "pin to one CPU of each core: --cpus"),
        Finding("NUMA", cpu["numa_nodes"] == 1, f"{cpu['numa_nodes']} nodes", "pin to the CPUs of one node: --cpus"),
        Finding("CPUs", True, f"{len(cpu['allowed_cpus'])} of {cpu['cpus']} allowed, {cpu['cores']} cores"),
        Finding("CPU quota", quota is None, "none" if quota is None else f"{quota:g} CPUs",
                "a quota stops the process in the middle of a batch: give it CPUs (--cpus), not a share of time"),
        Finding("load", load < LOADED, f"{load:.2f} processes over the last minute",
                "stop what else runs: the results would be INVALID"),
        Finding("virtual machine", not cpu["hypervisor"], "yes" if cpu["hypervisor"] else "no",
                "other guests share its caches and memory: quote ratios, not images/s"),
        Finding("disk", free >= NEEDED_GB, f"{free:.0f} GB free", f"make room: {NEEDED_GB} GB are needed"),
        Finding("build tools", not missing, "all there" if not missing else f"missing: {', '.join(missing)}",
                f"apt-get install {' '.join(missing)}"),
        Finding("Docker engine", docker is not None, docker or "none answers", "not needed: all stages run without it"),
    ]  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
