"""The shape of a soak's result, `soak.json`: figures only. Memory is in bytes, times are seconds since the start."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

# Of FP32 batches of unlike sizes, which round otherwise; docs/trust.md has the same limit.
MAX_OTHER_CLASS = 0.02


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Sample(_Record):
    """What /proc says of a process at one moment (proc(5)).

    anonymous: what the process has allocated, swapped out or not (RssAnon + VmSwap): where a leak shows. rss: with the
    files that it maps. pss: of shared pages only this process's share, so it moves when others start and end.
    """

    seconds: float
    anonymous: int
    rss: int
    pss: int | None  # None: the kernel does not tell (smaps_rollup, Linux 4.14)
    fds: int
    threads: int


class Growth(_Record):
    """How one quantity moved after the warm-up.

    slope_per_hour: Theil-Sen. growth: the larger of that slope over the window and the step from the median of the
    window's first third to that of its last; ok: not more than `limit`.
    """

    quantity: Literal["anonymous", "rss", "fds", "threads"]
    start: float
    end: float
    slope_per_hour: float
    growth: float
    limit: float
    ok: bool


class Process(_Record):
    name: str
    command: list[str]
    warm_seconds: float  # the window that is judged begins here
    rounds: int  # of all batch sizes
    batches: int
    images: int
    other_class: int  # images that got another class than the first time
    samples: list[Sample]
    growth: list[Growth]


class Soak(_Record):
    schema_version: Literal[1] = 1
    run_id: str
    created: str  # ISO 8601, UTC
    command: list[str]
    seconds: float
    every_seconds: float
    cpu: str
    versions: dict[str, str]
    git_commit: str | None
    model: str
    model_sha256: str
    data: str
    processes: list[Process]

    @property
    def growing(self) -> list[str]:
        """What grew, one line each."""
        return [f"{p.name}: {g.quantity} grew by {g.growth:,.0f} from {g.start:,.0f} (limit {g.limit:,.0f})"
                for p in self.processes for g in p.growth if not g.ok]  # fmt: skip

    @property
    def changing(self) -> list[str]:
        """Processes that named another class on more images than rounding explains, one line each."""
        return [f"{p.name}: {p.other_class} of {p.images} images got another class than the first time"
                for p in self.processes if p.other_class > MAX_OTHER_CLASS * p.images]  # fmt: skip
