"""What the kernel says of this process: memory, threads, allowed CPUs; as process_info.cc does."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def peak_rss_bytes() -> int:
    """Highest resident set size so far (VmHWM); ru_maxrss would not do, it survives exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def allowed_cpus() -> list[int]:
    """CPUs that the kernel allows. Ask before OpenMP starts: KMP_AFFINITY binds the main thread to one."""
    return sorted(os.sched_getaffinity(0))


def thread_times() -> dict[int, float]:
    """CPU time of each thread of this process in seconds, by thread id."""
    times = {}
    for name in os.listdir("/proc/self/task"):
        try:
            stat = Path(f"/proc/self/task/{name}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        # The second field, the name in parentheses, may hold spaces; fields 14 and 15 are the ticks (proc(5)).
        fields = stat.rpartition(")")[2].split()
        times[int(name)] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
    return times


def busy_threads(before: dict[int, float], after: dict[int, float], seconds: float) -> int:
    """Threads that were busy for at least a tenth of `seconds` between two readings."""
    return sum(time - before.get(thread, 0.0) >= 0.1 * seconds for thread, time in after.items())
