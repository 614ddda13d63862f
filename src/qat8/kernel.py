"""What the Linux kernel tells about the machine, below /proc and /sys; read, never written.

Everything is read below `ROOT`, so that a test can put a machine of its own there. What a kernel or a virtual machine
does not tell is None, which is not the same as 0.

Sources: the kernel's Documentation (admin-guide/pm/cpufreq.rst, admin-guide/pm/intel_pstate.rst, admin-guide/cgroup-v1
and cgroup-v2.rst, filesystems/proc.rst), proc(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path("/")
CPUS = "sys/devices/system/cpu"
CGROUP = "sys/fs/cgroup"
TICKS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")  # of a line of /proc/stat
UNLIMITED = 2**60  # cgroup v1 writes a page-aligned LONG_MAX for "no limit"


def read(path: str) -> str | None:
    """A file's content without surrounding blanks; None where it is not there or does not want to be read."""
    try:
        return (ROOT / path.lstrip("/")).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def number(path: str) -> int | None:
    text = read(path)
    return int(text) if text and re.fullmatch(r"-?\d+", text) else None


def cpuinfo() -> dict[str, str]:
    """The first processor's entry of /proc/cpuinfo."""
    entry = (read("proc/cpuinfo") or "").split("\n\n")[0]
    pairs = (line.partition(":") for line in entry.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def cpus() -> list[int]:
    return sorted(int(p.name[3:]) for p in (ROOT / CPUS).glob("cpu[0-9]*") if p.name[3:].isdigit())


def sockets() -> int | None:
    found = {read(f"{CPUS}/cpu{n}/topology/physical_package_id") for n in cpus()} - {None}
    return len(found) or None


def siblings(cpu: int) -> list[int]:
    """The logical CPUs of this one's core, itself among them."""
    return parse_list(read(f"{CPUS}/cpu{cpu}/topology/thread_siblings_list") or "") or [cpu]


def parse_list(text: str) -> list[int]:
    """The kernel's `0-3,8`; what is no such list is empty."""
    found: list[int] = []
    for part in text.split(","):
        if match := re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip()):
            found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return found


def numa_nodes() -> dict[str, list[int]]:
    """Node name -> its CPUs; empty where the kernel has none."""
    nodes = sorted((ROOT / "sys/devices/system/node").glob("node[0-9]*"))
    return {node.name: parse_list(read(f"sys/devices/system/node/{node.name}/cpulist") or "") for node in nodes}


def caches() -> dict[str, str]:
    """`{"L1d": "48K", "L2": "1024K", "L3": "32768K"}` of the first CPU, as the kernel words the sizes."""
    found = {}
    for index in sorted((ROOT / CPUS / "cpu0/cache").glob("index[0-9]*")):
        path = f"{CPUS}/cpu0/cache/{index.name}"
        level, kind, size = (read(f"{path}/{name}") for name in ("level", "type", "size"))
        if level and size:
            found[f"L{level}{ {'Data': 'd', 'Instruction': 'i'}.get(kind or '', '') }"] = size
    return found


def governor(cpu: int = 0) -> str | None:
    return read(f"{CPUS}/cpu{cpu}/cpufreq/scaling_governor")


def turbo() -> bool | None:
    """Whether the clock may rise above its nominal rate; None where the kernel does not tell (virtual machines)."""
    no_turbo, boost = read(f"{CPUS}/intel_pstate/no_turbo"), read(f"{CPUS}/cpufreq/boost")
    return no_turbo == "0" if no_turbo is not None else boost == "1" if boost is not None else None


def frequencies(of: Iterable[int]) -> list[float]:
    """Present clock in MHz of each of these CPUs that has one to tell."""
    found = (number(f"{CPUS}/cpu{n}/cpufreq/scaling_cur_freq") for n in of)
    return [kilohertz / 1000 for kilohertz in found if kilohertz is not None]


def thermal_events(of: Iterable[int]) -> int | None:
    """How often these cores and their packages were slowed for heat since boot."""
    names = ("core_throttle_count", "package_throttle_count")
    found = [number(f"{CPUS}/cpu{n}/thermal_throttle/{name}") for n in of for name in names]
    known = [count for count in found if count is not None]
    return sum(known) if known else None


def cpu_ticks() -> dict[int, dict[str, int]]:
    """Each CPU's clock ticks since boot by what they were spent on (`TICKS`); guests' time is in user."""
    found = {}
    for line in (read("proc/stat") or "").splitlines():
        if match := re.match(r"cpu(\d+) (.*)", line):
            found[int(match[1])] = dict(zip(TICKS, map(int, match[2].split())))
    return found


def swapped_pages() -> int | None:
    """Pages that the machine swapped in or out since boot."""
    found = re.findall(r"^pswp(?:in|out) (\d+)", read("proc/vmstat") or "", re.MULTILINE)
    return sum(map(int, found)) if found else None


def load_average() -> list[float] | None:
    words = (read("proc/loadavg") or "").split()[:3]
    return [float(word) for word in words] or None


def _cgroup_files(controller: str, name: str) -> list[str]:
    """`name` in this process's cgroup and each one above it. In a container the own group is the mount's root."""
    found = []
    for line in (read("proc/self/cgroup") or "").splitlines():
        number_, controllers, path = line.split(":", 2)
        unified = number_ == "0" and not controllers
        if not unified and controller not in controllers.split(","):
            continue
        for base in (CGROUP, f"{CGROUP}/unified") if unified else (f"{CGROUP}/{controller}",):
            parts = path.strip("/").split("/") if path.strip("/") else []
            found += [f"{base}/{'/'.join([*parts[:n], name])}" for n in range(len(parts), -1, -1)]
    return [path for path in dict.fromkeys(found) if read(path) is not None]


def throttling() -> tuple[int, float] | None:
    """How often this process's cgroup (or one above it) used up its CPU quota, and the ms that it then had to wait."""
    periods, ms, known = 0, 0.0, False
    for path in _cgroup_files("cpu", "cpu.stat"):
        values = dict(line.split()[:2] for line in (read(path) or "").splitlines() if " " in line)
        if "nr_throttled" in values:
            known = True
            periods += int(values["nr_throttled"])
            ms += int(values.get("throttled_usec", 0)) / 1e3 + int(values.get("throttled_time", 0)) / 1e6
    return (periods, ms) if known else None


def cgroup_limits() -> dict[str, float | int | None]:
    """The tightest CPU quota (in CPUs) and memory limit (bytes) over this process's cgroups; None: no limit."""
    quotas, memory = [], []
    for path in _cgroup_files("cpu", "cpu.max"):  # v2: `QUOTA PERIOD` or `max PERIOD`
        quota, period = (read(path) or "max").split()[:2]
        quotas += [int(quota) / int(period)] if quota != "max" else []
    for path in _cgroup_files("cpu", "cpu.cfs_quota_us"):  # v1: -1 for none
        quota, period = number(path), number(path.replace("quota", "period"))
        quotas += [quota / period] if quota and period and quota > 0 else []
    for name in ("memory.max", "memory.limit_in_bytes"):
        memory += [n for n in map(number, _cgroup_files("memory", name)) if n is not None and n < UNLIMITED]
    return {"cpu_quota": min(quotas, default=None), "memory_limit_bytes": min(memory, default=None)}
