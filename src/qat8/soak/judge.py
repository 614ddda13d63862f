"""Whether a process's memory, open files and threads stay what they are once it is warm.

The slope is Theil and Sen's, the median over all pairs of samples: a few wild ones do not move it. A median is blind to
a single step in the middle, so the medians of the first and the last third are compared, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import theilslopes

from qat8.soak.record import Growth, Sample

MIB = 2**20
SHARE = 0.005  # of the median: allocators and the kernel move pages to and fro
LEAST_SAMPLES = 9


def limit(quantity: str, values: np.ndarray) -> float:
    """What `quantity` may grow by over the window: 1 MiB or half a per cent; of files and threads less than one."""
    return max(MIB, SHARE * float(np.median(values))) if quantity in ("anonymous", "rss") else 0.5


def judge(samples: Sequence[Sample], warm_seconds: float) -> list[Growth]:
    """One verdict for each quantity over the samples from `warm_seconds` on; empty where those are too few."""
    window = [s for s in samples if s.seconds >= warm_seconds]
    if len(window) < LEAST_SAMPLES:
        return []
    seconds = np.array([s.seconds for s in window])
    return [_growth(name, seconds, np.array([getattr(s, name) for s in window], dtype=float))
            for name in ("anonymous", "rss", "fds", "threads")]  # fmt: skip


def _growth(quantity: str, seconds: np.ndarray, values: np.ndarray) -> Growth:
    slope = float(theilslopes(values, seconds).slope)
    third = len(values) // 3
    start, end = float(np.median(values[:third])), float(np.median(values[-third:]))
    growth = max(slope * float(seconds[-1] - seconds[0]), end - start)
    allowed = limit(quantity, values)
    return Growth(quantity=quantity, start=start, end=end, slope_per_hour=slope * 3600, growth=growth, limit=allowed,
                  ok=growth <= allowed)  # fmt: skip
