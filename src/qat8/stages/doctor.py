"""What this host can do, what would make its figures better, and how; nothing is changed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from rich.table import Table

from qat8 import artifacts, cli, environment
from qat8.console import console

NEEDED_GB = 3


@dataclass(frozen=True)
class Finding:
    what: str
    ok: bool | None  # None: the machine does not tell
    found: str
    advice: str = ""


def main(argv: list[str]) -> None:
    cli.Parser(prog="doctor", description=__doc__).parse_args(argv)
    table = Table("", "what", "found", "what to do", title=environment.cpu()["model"])
    for finding in findings():
        mark = {True: "ok", False: "!", None: "?"}[finding.ok]
        table.add_row(mark, finding.what, finding.found, "" if finding.ok else finding.advice)
    console.print(table)


def findings() -> list[Finding]:
    cpu = environment.cpu()
    turbo, governor = cpu["turbo"], cpu["governor"]
    free = shutil.disk_usage(artifacts.REPOSITORY).free / 1e9
    missing, docker = environment.missing_tools(), environment.docker_engine()
    return [
        Finding("AVX-512 VNNI", cpu["vnni"], "yes" if cpu["vnni"] else "no",
                "INT8 gains about 1.5x without it (tutorial, Xeon Gold 6148); use Cascade Lake or newer"),
        Finding("turbo", None if turbo is None else not turbo, {None: "not told", True: "on", False: "off"}[turbo],
                "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo" if turbo else
                "the host decides; compare FP32 and INT8 of one run only"),
        Finding("frequency governor", None if governor is None else governor == "performance", governor or "not told",
                "sudo cpupower frequency-set -g performance" if governor else "the host decides"),
        Finding("SMT", not cpu["smt"], "on" if cpu["smt"] else "off", "pin to one CPU of each core: --cpus"),
        Finding("NUMA", cpu["numa_nodes"] == 1, f"{cpu['numa_nodes']} nodes", "pin to the CPUs of one node: --cpus"),
        Finding("CPUs", True, f"{len(cpu['allowed_cpus'])} of {cpu['cpus']} allowed, {cpu['cores']} cores"),
        Finding("virtual machine", not cpu["hypervisor"], "yes" if cpu["hypervisor"] else "no",
                "other guests share its caches and memory: quote ratios, not images/s"),
        Finding("disk", free >= NEEDED_GB, f"{free:.0f} GB free", f"make room: {NEEDED_GB} GB are needed"),
        Finding("build tools", not missing, "all there" if not missing else f"missing: {', '.join(missing)}",
                f"apt-get install {' '.join(missing)}"),
        Finding("Docker engine", docker is not None, docker or "none answers", "not needed: all stages run without it"),
    ]  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
