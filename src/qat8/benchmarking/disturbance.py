"""What disturbs a measurement from outside: by how much at most, and in which words it is told.

These are conditions, never results: whether a repetition is measured again must not depend on how fast it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qat8.tester_run import Conditions

MAX_OTHER_LOAD = 0.05  # of the measured CPUs' time
MAX_STEAL = 0.02


@dataclass(frozen=True)
class Limit:
    """`value` None: this machine does not tell. `words` says a value that does not hold, `meaning` what all held."""

    name: str
    value: Callable[[Conditions], float | None]
    most: float
    words: Callable[[float], str]
    meaning: str


LIMITS = (
    Limit("other load", lambda c: c.other_load, MAX_OTHER_LOAD,
          lambda v: f"{v:.1%} of the measured CPUs' time went to other processes",
          f"other processes took at most {MAX_OTHER_LOAD:.0%} of the measured CPUs' time"),
    Limit("steal", lambda c: c.steal, MAX_STEAL, lambda v: f"{v:.1%} of the time went to other guests of the host",
          f"the hypervisor took at most {MAX_STEAL:.0%} of the time"),
    Limit("CPU quota", lambda c: c.throttled_periods, 0,
          lambda v: f"the cgroup's CPU quota stopped the process in {v} periods", "no cgroup quota stopped a process"),
    Limit("heat", lambda c: c.thermal_events, 0, lambda v: f"the CPUs were slowed for heat {v} times",
          "no CPU was slowed for heat"),
    Limit("swapping", lambda c: c.swapped_pages, 0, lambda v: f"the machine swapped {v} pages", "nothing was swapped"),
)  # fmt: skip


def of(conditions: Conditions) -> list[str]:
    """What disturbed the process that was watched; empty when nothing did, as far as the machine tells."""
    seen = [(limit, limit.value(conditions)) for limit in LIMITS]
    return [limit.words(value) for limit, value in seen if value is not None and value > limit.most]
