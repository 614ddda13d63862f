"""What happens on the machine while a tester measures: counters of the kernel, before and after, and the clock between.

Nothing here disturbs the measurement: two readings of /proc, and where the kernel tells the clock, a thread that reads
it five times a second.
"""

from __future__ import annotations

import contextlib
import resource
import threading
import time
from collections.abc import Iterator, Sequence

from qat8 import kernel
from qat8.older_python import zip_strict
from qat8.tester_run import Conditions

SAMPLE_SECONDS = 0.2
TICKS_PER_SECOND = 100  # USER_HZ, which the kernel promises for /proc/stat


class Watch:
    """Filled when the block of `watch` has ended."""

    conditions: Conditions | None = None


@contextlib.contextmanager
def watch(cpus: Sequence[int]) -> Iterator[Watch]:
    """Watch while the block starts processes on `cpus` and waits for them.

    The processes are this one's children; their own time is what the kernel charges to children that were waited for.
    """
    seen = Watch()
    clock = _Clock(cpus)
    before = _Counters(cpus)
    with clock:
        yield seen
    seen.conditions = _between(before, _Counters(cpus), cpus, clock.range())


class _Counters:
    def __init__(self, cpus: Sequence[int]) -> None:
        self.time = time.monotonic()
        self.children = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.ticks = kernel.cpu_ticks()
        self.throttling = kernel.throttling()
        self.thermal = kernel.thermal_events(cpus)
        self.swapped = kernel.swapped_pages()


def _between(
    before: _Counters, after: _Counters, cpus: Sequence[int], frequency: tuple[float, float] | None
) -> Conditions:
    seconds = after.time - before.time
    kinds = ("ru_utime", "ru_stime")
    children = sum(getattr(after.children, kind) - getattr(before.children, kind) for kind in kinds)
    there, elsewhere = ([n for n in after.ticks if (n in cpus) is inside] for inside in (True, False))
    busy, steal = _busy(before, after, there), _spent(before, after, there, ("steal",))
    available = seconds * len(there)
    counters = (taken.throttling or (None, None) for taken in (after, before))
    throttled = [_less(a, b) for a, b in zip_strict(*counters)]
    return Conditions(
        seconds=seconds,
        cpu_seconds=children,
        other_load=max(0.0, busy - children) / available if available else None,
        elsewhere_load=_busy(before, after, elsewhere) / (seconds * len(elsewhere)) if elsewhere else None,
        steal=steal / available if available else None,
        throttled_periods=throttled[0],
        throttled_ms=throttled[1],
        thermal_events=_less(after.thermal, before.thermal),
        swapped_pages=_less(after.swapped, before.swapped),
        major_faults=after.children.ru_majflt - before.children.ru_majflt,
        frequency_mhz=frequency,
    )


def _less(after, before):
    return None if after is None or before is None else after - before


def _busy(before: _Counters, after: _Counters, cpus: Sequence[int]) -> float:
    return _spent(before, after, cpus, ("user", "nice", "system", "irq", "softirq"))


def _spent(before: _Counters, after: _Counters, cpus: Sequence[int], kinds: Sequence[str]) -> float:
    """Seconds that these CPUs spent on it."""
    ticks = sum(after.ticks[n].get(k, 0) - before.ticks.get(n, {}).get(k, 0) for n in cpus for k in kinds)
    return ticks / TICKS_PER_SECOND


class _Clock:
    """The CPUs' clock rates while the block runs; no thread where the kernel does not tell them."""

    def __init__(self, cpus: Sequence[int]) -> None:
        self._cpus, self._seen, self._stop = cpus, [], threading.Event()
        told = bool(kernel.frequencies(cpus))
        self._thread = threading.Thread(target=self._sample, daemon=True) if told else None

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._seen += kernel.frequencies(self._cpus)

    def __enter__(self) -> _Clock:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def range(self) -> tuple[float, float] | None:
        return (min(self._seen), max(self._seen)) if self._seen else None
