"""Runs the testers: the precisions of a configuration in turn, each in a process of its own on pinned CPUs."""

from __future__ import annotations

from dataclasses import dataclass

from qat8 import artifacts, processes, tester_run
from qat8.benchmarking import disturbance, onednn_log
from qat8.benchmarking.conditions import watch
from qat8.benchmarking.onednn_log import Seen
from qat8.benchmarking.plan import BF16, PRECISIONS, Cell, Plan
from qat8.console import Bar, say
from qat8.older_python import zip_strict
from qat8.tester_run import TesterRun

MOST_AGAIN = 3  # times that one repetition is measured again when something else disturbed it
SPARE, MIN_SPARE = 0.05, 3  # of all repetitions may be thrown away so, and at least so many

Measured = dict[tuple[Cell, str], list[TesterRun]]


def measure(plan: Plan) -> Measured:
    """All repetitions of all cells.

    Whatever slows the machine for a while slows all precisions of a cell, and all testers and peers of a group. Their
    order alternates, so that being first is no advantage either.
    """
    runs: Measured = {turn: [] for turn in plan.turns()}
    spare = _Spare(0 if plan.quick else max(MIN_SPARE, round(SPARE * len(runs) * plan.repetitions)))
    with Bar("measuring", len(runs) * plan.repetitions) as bar:
        for group in plan.groups():
            turns = [(cell, precision) for cell in group for precision in plan.precisions_of(cell.tester)]
            for repetition in range(plan.repetitions):
                for cell, precision in turns if repetition % 2 == 0 else turns[::-1]:
                    runs[cell, precision].append(_undisturbed(plan, cell, precision, spare))
                    bar.advance(note=f"{cell}, {precision}")
            for cell in group:
                _say(cell, runs)
    return runs


@dataclass
class _Spare:
    """Measurements that may still be thrown away."""

    left: int


def _undisturbed(plan: Plan, cell: Cell, precision: str, spare: _Spare) -> TesterRun:
    """One repetition, at once measured again where something else disturbed it: no figure is looked at for that.

    On a machine that is always disturbed the spare ones are soon gone; then the checks say what was the matter.
    """
    discarded = 0
    while True:
        run = _run(plan, cell, precision)
        found = disturbance.of(run.conditions)
        if not found or discarded == MOST_AGAIN or not spare.left:
            return run.model_copy(update={"conditions": run.conditions.model_copy(update={"discarded": discarded})})
        spare.left -= 1
        discarded += 1
        say(f"  {cell}, {precision}: {found[0]}; measured again")


def _run(plan: Plan, cell: Cell, precision: str) -> TesterRun:
    with artifacts.scratch() as directory:
        result = directory / "run.json"
        cpus = plan.cpus[: cell.threads]
        command = processes.pinned(cpus, [*plan.command(cell, precision), f"--json={result}"])
        with watch(cpus) as seen:
            processes.capture(command, processes.openmp(cell.threads))
        return tester_run.load(result).model_copy(update={"conditions": seen.conditions})


def _say(cell: Cell, runs: Measured) -> None:
    fp32, int8 = ([r.images_per_second for r in runs[cell, p]] for p in PRECISIONS)
    ratios = sorted(b / a for a, b in zip_strict(fp32, int8))
    middle = sorted(fp32)[len(fp32) // 2], sorted(int8)[len(int8) // 2]
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    more = sorted(r.images_per_second for r in runs.get((cell, BF16), []))
    bf16 = f"BF16 {more[len(more) // 2]:.1f}, " if more else ""
    say(f"  {cell}: FP32 {middle[0]:.1f}, {bf16}INT8 {middle[1]:.1f} images/s, ratios {spread}")


def kernels(plan: Plan, model: str, precision: str = "int8") -> Seen:
    """What oneDNN really ran in one batch of one image of the INT8 (BF16) model, and what it says of itself."""
    cell = Cell(model, plan.testers[0], 1, 1)
    command = [*plan.command(cell, precision)[:-2], "--iterations=1"]
    environment = {**processes.openmp(1), "ONEDNN_VERBOSE": "1", "DNNL_VERBOSE": "1"}
    log = processes.capture(processes.pinned(plan.cpus[:1], command), environment)
    return onednn_log.read(log, precision)
