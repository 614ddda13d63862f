"""Whether the figures mean what they say: what makes a run INVALID, and what a reader is merely warned of.

docs/trust.md explains each check and its limit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qat8 import instructions, kernel, manifests, peers
from qat8.benchmarking import disturbance
from qat8.benchmarking.disturbance import Limit
from qat8.benchmarking.measure import Measured
from qat8.benchmarking.onednn_log import Kernels
from qat8.benchmarking.plan import BF16, ENGINE, Cell, Plan
from qat8.older_python import zip_strict
from qat8.results import AccuracyGate, Check
from qat8.statistics import bootstrap_interval, spread
from qat8.tester_run import Conditions, TesterRun

MIN_REPETITIONS = 3
MIN_SECONDS = 1.0  # measured, of each repetition
MIN_BATCHES = 5  # measured, over all repetitions
MAX_RATIO_SPREAD = 0.2  # largest less smallest paired ratio, over the median: more is not one figure
MAX_RATIO_ERROR = 0.1  # half of the bootstrap interval, over the median
MAX_ELSEWHERE_LOAD = 0.1  # of the other CPUs' time, which share caches, memory and power with the measured ones
MAX_FREQUENCY_SPREAD = 0.05  # greatest less least clock, over the greatest
MIN_SAME_OUTPUT = 0.98  # share of images on which two settings of the same model name the same class

Outcome = tuple[Cell, bool, str]  # where, whether it holds, what was seen


def checks(
    plan: Plan, measured: Measured, kernels: dict[str, Kernels], changed: list[str], gates: list[AccuracyGate],
    bf16: dict[str, Kernels] | None = None,
) -> list[Check]:  # fmt: skip
    """All checks of a run.

    Args:
        kernels: of each INT8 model. bf16: of each FP32 model in BF16, where it was measured so.
        changed: inputs that are not what they were when the run began.
    """
    return [
        *(_kernels(model, "INT8", found) for model, found in kernels.items()),
        *(_kernels(model, "BF16", found) for model, found in (bf16 or {}).items()),
        _all("affinity", [(c, r.affinity == plan.cpus[: c.threads], f"{r.affinity}") for c, r in _each(measured)],
             "every process ran on the CPUs that it was pinned to"),
        # A run much shorter than a clock tick of the scheduler cannot show its threads: then 0 are busy.
        _all("threads", [(c, r.threads_busy == c.threads, f"{r.threads_busy} busy") for c, r in _each(measured)],
             "as many threads worked as were asked for"),
        _all("accuracy", _same_accuracy(measured), "every repetition and tester gave the same top-1 and top-5"),
        _all("outputs", _same_outputs(measured), "every timed run named the same classes as the first one"),
        Check(check="inputs", ok=not changed, detail=f"changed during the run: {', '.join(changed)}" if changed else
              "models, data and testers are what they were at the beginning"),
        _all("amount", _amounts(plan, measured), f"at least {MIN_REPETITIONS} repetitions of {MIN_SECONDS:g} s"),
        _all("repetitions", _spreads(plan, measured),
             f"paired ratios over FP32 lie within {MAX_RATIO_SPREAD:.0%} of each other"),
        *machine_checks(measured),
        *(_gate(gate) for gate in gates),
        *range_warnings(plan),
        *standing_warnings(plan.cpus),
    ]  # fmt: skip


# The machine while it was measured.


def machine_checks(measured: Measured) -> list[Check]:
    """From the counters that were read around each process; a counter that the machine does not tell says so."""
    return [
        *(_watched(measured, limit) for limit in disturbance.LIMITS),
        _watched(measured, Limit("frequency", _frequency_spread, MAX_FREQUENCY_SPREAD,
                 lambda v: f"the clock moved by {v:.0%}", f"the clock stayed within {MAX_FREQUENCY_SPREAD:.0%}")),
        _watched(measured, Limit("load elsewhere", lambda c: c.elsewhere_load, MAX_ELSEWHERE_LOAD,
                 lambda v: f"the other CPUs were {v:.0%} busy; they share caches, memory and power with the measured",
                 f"the other CPUs were at most {MAX_ELSEWHERE_LOAD:.0%} busy"), level="warning"),
        _watched(measured, Limit("again", lambda c: c.discarded, 0,
                 lambda v: f"measured again {v} times, because something else disturbed it",
                 "nothing had to be measured again"), level="warning"),
    ]  # fmt: skip


def _frequency_spread(seen: Conditions) -> float | None:
    return 1 - seen.frequency_mhz[0] / seen.frequency_mhz[1] if seen.frequency_mhz else None


def _watched(measured: Measured, limit: Limit, level: str = "failure") -> Check:
    seen = [(cell, limit.value(run.conditions)) for cell, run in _each(measured) if run.conditions]
    known = [(cell, value) for cell, value in seen if value is not None]
    if not known:
        return Check(check=limit.name, ok=True, detail="this machine does not tell", level=level)
    # Worst first: the line names one, and it should be the one that matters.
    known.sort(key=lambda pair: -pair[1])
    return _all(limit.name, [(c, v <= limit.most, limit.words(v)) for c, v in known], limit.meaning, level)


def range_warnings(plan: Plan) -> list[Check]:
    """Without VNNI the kernels add in 16 bits: a model made for that is told by its manifest."""
    if not instructions.saturates():
        return []
    made = {name: manifests.read(found["int8"]) or {} for name, found in plan.models.items()}
    full = [name for name, manifest in made.items() if not manifest.get("config", {}).get("reduced_range")]
    detail = (
        f"{', '.join(full)}: without VNNI sums of 16 bits overflow, which costs accuracy; "
        "next: inv convert --reduce-range=true" if full else "made for CPUs without VNNI"
    )  # fmt: skip
    return [Check(check="16-bit sums", level="warning", ok=not full, detail=detail)]


def standing_warnings(cpus: list[int]) -> list[Check]:
    """How the machine is set. `inv doctor --fix` says what to do about it."""
    turbo, governors = kernel.turbo(), {kernel.governor(n) for n in cpus} - {None}
    shared = [n for n in cpus if len(kernel.siblings(n)) > 1]
    not_told = "this machine does not tell"
    lacking = "; ".join(instructions.shortcomings())
    return [
        Check(check="VNNI", level="warning", ok=not lacking, detail=lacking or "oneDNN may use AVX-512 VNNI"),
        Check(check="turbo", level="warning", ok=not turbo, detail={
            None: not_told, True: "on; the tutorial turns it off, because the clock then depends on heat and load",
            False: "off"}[turbo]),
        Check(check="governor", level="warning", ok=governors <= {"performance"},
              detail=", ".join(sorted(governors)) or not_told),
        Check(check="hyper-threading", level="warning", ok=not shared, detail=f"CPUs {shared} share their cores with "
              "logical CPUs that others may use" if shared else "off, or no CPU of the run shares its core"),
    ]  # fmt: skip


# The measurement itself.


def _each(measured: Measured) -> Iterator[tuple[Cell, TesterRun]]:
    return ((cell, run) for (cell, _), reps in measured.items() for run in reps)


def _all(name: str, outcomes: list[Outcome], meaning: str, level: str = "failure") -> Check:
    bad = [f"{cell}: {detail}" for cell, ok, detail in outcomes if not ok]
    detail = meaning if not bad else f"not so: {bad[0]}" + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")
    return Check(check=name, ok=not bad, detail=detail, level=level)


def _kernels(model: str, precision: str, found: Kernels) -> Check:
    names = ", ".join(found.names) or "no kernel"
    detail = f"{model}: oneDNN ran {found.quantized} of {found.total} convolutions in {precision} ({names})"
    return Check(check=f"{precision.lower()} kernels", ok=found.quantized == found.total > 0, detail=detail)


def _engine(cell: Cell, precision: str) -> str:
    """With whom a run is compared: a peer quantizes otherwise, our engine rounds to BF16 in other places and, where
    VNNI lacks, INT8 weights to other halves (docs/engine.md): each of these with itself alone."""
    otherwise = precision == BF16 or (precision == "int8" and instructions.saturates())
    return cell.tester if cell.tester in peers.NAMES or (cell.tester == ENGINE and otherwise) else "Paddle"


def _same_accuracy(measured: Measured) -> list[Outcome]:
    first: dict = {}
    outcomes = []
    for (cell, precision), reps in measured.items():
        for run in reps:
            known = first.setdefault((cell.model, precision, _engine(cell, precision)), (run.top1, run.top5))
            outcomes.append((cell, (run.top1, run.top5) == known, f"{precision} {run.top1}, elsewhere {known[0]}"))
    return outcomes


def _same_outputs(measured: Measured) -> list[Outcome]:
    """MLPerf's TEST01: a run that is timed must give what the run gave whose accuracy is reported.

    Repetitions of one setting must be alike to the image; another batch size, thread count or tester may round
    otherwise, which turns a class over on an image whose two best are level.
    """
    accuracy_run: dict = {}
    outcomes = []
    for (cell, precision), reps in measured.items():
        reference = accuracy_run.setdefault((cell.model, precision, _engine(cell, precision)), reps[0].predictions)
        for run in reps:
            own = _agreement(run.predictions, reps[0].predictions)
            other = _agreement(run.predictions, reference)
            ok = own == 1 and other >= MIN_SAME_OUTPUT
            detail = f"{precision} names another class on {1 - min(own, other):.1%} of the images than before"
            outcomes.append((cell, ok, detail))
    return outcomes


def _agreement(a: list[int], b: list[int]) -> float:
    if len(a) != len(b):
        return 0.0
    return float(np.mean(np.asarray(a) == np.asarray(b))) if a else 1.0


def _amounts(plan: Plan, measured: Measured) -> list[Outcome]:
    outcomes = []
    for (cell, precision), reps in measured.items():
        shortest = min(sum(r.latencies_ms) for r in reps) / 1000
        batches = sum(r.measured_batches for r in reps)
        enough = len(reps) >= MIN_REPETITIONS and shortest >= MIN_SECONDS and batches >= MIN_BATCHES
        seen = f"{precision}: {len(reps)} repetitions of {shortest:.2f} s or more, {batches} batches"
        wanted = f"at least {MIN_REPETITIONS}, {MIN_SECONDS:g} s and {MIN_BATCHES}"
        outcomes.append((cell, enough, f"{seen}; wanted {wanted}{' (--quick)' if plan.quick else ''}"))
    return outcomes


def _spreads(plan: Plan, measured: Measured) -> list[Outcome]:
    return [
        (cell, _steady(ratios), f"{precision.upper()} {_range(ratios)}")
        for cell, precision in plan.turns() if precision != "fp32" and (ratios := _ratios(measured, cell, precision))
    ]  # fmt: skip


def _steady(ratios: list[float]) -> bool:
    found, interval = spread(ratios), bootstrap_interval(ratios)
    error = (interval[1] - interval[0]) / 2 if interval else 0
    return found.max - found.min <= MAX_RATIO_SPREAD * found.median and error <= MAX_RATIO_ERROR * found.median


def _range(ratios: list[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def _ratios(measured: Measured, cell: Cell, precision: str) -> list[float]:
    """INT8 (BF16) over FP32, repetition by repetition."""
    fp32, narrow = ([run.images_per_second for run in measured[cell, p]] for p in ("fp32", precision))
    return [b / a for a, b in zip_strict(fp32, narrow)]


def _gate(gate: AccuracyGate) -> Check:
    # Too few photographs to tell is no fault of the measurement: a warning.
    level = "failure" if gate.outcome == "failed" else "warning"
    detail = f"{gate.subject}: {gate.detail}"
    return Check(check="accuracy gate", ok=gate.outcome == "passed", level=level, detail=detail)
