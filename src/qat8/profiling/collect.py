"""Runs the profiled process twice and joins what it printed.

Once with oneDNN's log on in every other run: runs without it tell the true time of a run, those with it the time of
each primitive. Once with the executor's log too, which says which operator called which primitives, and is too slow to
be timed by.
"""

from __future__ import annotations

import re
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from qat8 import processes
from qat8.console import step
from qat8.errors import VerificationError
from qat8.older_python import pairwise, zip_strict
from qat8.profiling import worker
from qat8.profiling.log import Operator, Primitive, parse_line

TRACED_RUNS = 3


@dataclass(frozen=True)
class Settings:
    model: Path
    data: Path
    batch_size: int
    threads: int
    cpus: list[int]
    iterations: int
    warmup: int
    bf16: bool = False


@dataclass(frozen=True)
class Run:
    """What one inference printed, in order, how long it took, and when it began and ended, in seconds of the day."""

    events: list[Primitive | Operator]
    ms: float
    began: float = 0.0
    ended: float = 0.0

    @property
    def primitives(self) -> list[Primitive]:
        return [e for e in self.events if isinstance(e, Primitive)]


@dataclass(frozen=True)
class Called:
    """An operator with its primitives, whose times are medians, and what it took besides (`record.Step`)."""

    operator: Operator
    primitives: list[Primitive]
    ms: list[float]
    outside_ms: float


@dataclass(frozen=True)
class Collected:
    plain: list[Run]
    logged: list[Run]
    calls: list[Called]
    before_ms: float  # from the call to the first operator
    onednn: str  # its version


def collect(settings: Settings) -> Collected:
    """Profile one model.

    Raises:
        StageError or what the process's exit code stands for: it failed.
        VerificationError: the logs are not those of the same steps, or hold none.
    """
    with step("timing runs and primitives"):
        timed, text = _runs(settings, settings.iterations)
    plain, logged = timed[0::2], timed[1::2]
    with step("tracing the operators"):
        traced, _ = _runs(settings, TRACED_RUNS, trace=True)
    calls = join(logged, traced)
    version = re.search(r"verbose,info,oneDNN v([\d.]+)", text)
    before = statistics.median(_ms_between(run.began, grouped(run)[0][0].seconds) for run in traced)
    return Collected(plain, logged, calls, before, version[1] if version else "unknown")


def _runs(settings: Settings, iterations: int, trace: bool = False) -> tuple[list[Run], str]:
    command = [
        sys.executable, "-m", "qat8.profiling.worker", f"--model={settings.model}", f"--data-file={settings.data}",
        f"--batch-size={settings.batch_size}", f"--num-threads={settings.threads}", f"--iterations={iterations}",
        f"--warmup={settings.warmup}", *(["--trace"] if trace else []), *(["--bf16"] if settings.bf16 else []),
    ]  # fmt: skip
    environment = {**processes.openmp(settings.threads), **worker.environment(trace)}
    output = processes.capture(processes.pinned(settings.cpus, command), environment)
    return split(output), output


def split(output: str) -> list[Run]:
    """The runs of a process's output, by its marks; what it printed before, between and after them is not theirs."""
    runs, events, began = [], None, 0.0
    for line in output.splitlines():
        if line.startswith(f"{worker.MARK},run,"):
            events, began = [], float(line.rpartition(",")[2])
        elif line.startswith(f"{worker.MARK},end,"):
            ended, ms = map(float, line.split(",")[2:])
            runs.append(Run(events, ms, began, ended))
            events = None
        elif events is not None and (event := parse_line(line)):
            events.append(event)
    return runs


def join(logged: list[Run], traced: list[Run]) -> list[Called]:
    """The operators of the traced runs with the times of the logged ones.

    Raises:
        VerificationError: see `collect`.
    """
    operators = [e for e in traced[-1].events if isinstance(e, Operator)]
    wanted = [p.identity for p in traced[-1].primitives]
    if not operators or not wanted:
        raise VerificationError(
            f"the logs name {len(operators)} operators and {len(wanted)} oneDNN primitives", "some of both",
            "profile with the Paddle that requirements.txt pins",
        )  # fmt: skip
    for run in [*logged, *traced]:
        if [p.identity for p in run.primitives] != wanted:
            raise VerificationError("two runs of the same model called different oneDNN primitives", "the same ones")
    times = [statistics.median(of_one) for of_one in zip_strict(*([p.ms for p in r.primitives] for r in logged))]
    outside = zip_strict(*map(_outside, traced))
    calls, first = [], 0
    for (operator, primitives), spent in zip_strict(grouped(traced[-1]), outside):
        last = first + len(primitives)
        calls.append(Called(operator, primitives, times[first:last], statistics.median(spent)))
        first = last
    return calls


def grouped(run: Run) -> list[tuple[Operator, list[Primitive]]]:
    """The operators of a traced run, each with the primitives logged between it and the next."""
    groups: list[tuple[Operator, list[Primitive]]] = []
    for event in run.events:
        if isinstance(event, Operator):
            groups.append((event, []))
        elif groups:
            groups[-1][1].append(event)
    return groups


def _outside(run: Run) -> list[float]:
    groups = grouped(run)
    starts = [operator.seconds for operator, _ in groups]
    spans = pairwise([*starts, run.ended])
    inside = [sum(p.ms for p in primitives) for _, primitives in groups]
    return [max(0.0, _ms_between(a, b) - ms) for (a, b), ms in zip_strict(spans, inside)]


def _ms_between(a: float, b: float) -> float:
    return (b - a) % 86400 * 1000  # a run may begin before midnight
