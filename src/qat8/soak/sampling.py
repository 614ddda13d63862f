"""What the kernel says of a running process: memory, open files, threads."""

from __future__ import annotations

import re
from pathlib import Path

from qat8 import kernel
from qat8.soak.record import Sample


def sample(pid: int, seconds: float) -> Sample | None:
    """A reading; None: the process has ended, or is about to."""
    status = kernel.read(f"proc/{pid}/status") or ""
    sizes = {name: int(kb) * 1024 for name, kb in re.findall(r"^(\w+):\s+(\d+) kB$", status, re.MULTILINE)}
    threads = re.search(r"^Threads:\s+(\d+)$", status, re.MULTILINE)
    if "RssAnon" not in sizes or not threads:  # a zombie has no memory
        return None
    share = re.search(r"^Pss:\s+(\d+) kB$", kernel.read(f"proc/{pid}/smaps_rollup") or "", re.MULTILINE)
    return Sample(
        seconds=seconds, anonymous=sizes["RssAnon"] + sizes.get("VmSwap", 0), rss=sizes["VmRSS"],
        pss=int(share[1]) * 1024 if share else None, fds=_open_files(pid), threads=int(threads[1]),
    )  # fmt: skip


def _open_files(pid: int) -> int:
    try:
        return sum(1 for _ in Path(kernel.ROOT, f"proc/{pid}/fd").iterdir())
    except OSError:
        return 0
