"""Testers' runs -> the records of the results file: medians, paired ratios, accuracy by subset, checks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qat8 import processes
from qat8.benchmarking.measure import Measured
from qat8.benchmarking.plan import PRECISIONS, Cell, Plan
from qat8.results import Check, Comparison, Latency, Run, SubsetAccuracy, TesterRun
from qat8.statistics import Spread, median, paired_ratios, wilson_interval

MAX_RATIO_SPREAD = 0.2  # largest less smallest paired ratio, over the median: more is not one figure


@dataclass(frozen=True)
class Subset:
    """Rows `start` to `start + count` of the data file."""

    name: str
    start: int
    count: int
    labels: str
    used_in_training: bool


def runs(plan: Plan, measured: Measured) -> list[Run]:
    return [_run(plan, cell, precision, reps) for (cell, precision), reps in measured.items()]


def _run(plan: Plan, cell: Cell, precision: str, reps: list[TesterRun]) -> Run:
    latency = {name: median([getattr(r.latency_ms, name) for r in reps]) for name in Latency.model_fields}
    cpus = plan.cpus[: cell.threads]
    return Run(
        model=cell.model, precision=precision, tester=cell.tester, threads=cell.threads, batch_size=cell.batch_size,
        images=reps[0].images, images_per_second=median([r.images_per_second for r in reps]),
        latency_ms=Latency(**latency), top1=reps[0].top1, top5=reps[0].top5,
        peak_rss_bytes=max(r.peak_rss_bytes for r in reps), repetitions=[r.images_per_second for r in reps],
        threads_alive=max(r.threads_alive for r in reps), threads_busy=max(r.threads_busy for r in reps),
        cpus=reps[0].affinity, init_ms=median([r.init_ms for r in reps]), partial_batch=reps[0].partial_batch,
        command=processes.pinned(cpus, plan.command(cell, precision)),
    )  # fmt: skip


def comparisons(plan: Plan, measured: Measured) -> list[Comparison]:
    found = []
    for cell in plan.cells():
        fp32, int8 = (measured[cell, p] for p in PRECISIONS)
        ratio = _ratio(measured, cell)
        record = Comparison(
            model=cell.model,
            tester=cell.tester,
            threads=cell.threads,
            batch_size=cell.batch_size,
            speedup=ratio.median,
            speedup_min=ratio.min,
            speedup_max=ratio.max,
            top1_diff=_difference(int8[0].top1, fp32[0].top1),
            top5_diff=_difference(int8[0].top5, fp32[0].top5),
        )
        found.append(record)
    return found


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def accuracy(plan: Plan, measured: Measured, labels: np.ndarray, subsets: list[Subset]) -> list[SubsetAccuracy]:
    """Per model and subset, from the predictions of the first tester at one thread and the largest batch."""
    if len(subsets) > 1:  # the whole file too: agreement needs no labels, and more images make it finer
        used = any(subset.used_in_training for subset in subsets)
        subsets = [*subsets, Subset("all", 0, len(labels), "as in its parts", used)]
    found = []
    for model in plan.models:
        cell = Cell(model, plan.testers[0], plan.threads[0], max(plan.batch_sizes))
        predictions = {p: np.array(measured[cell, p][0].predictions) for p in PRECISIONS}
        for subset in subsets:
            rows = slice(subset.start, subset.start + subset.count)
            found.append(_subset(model, subset, labels[rows], {p: v[rows] for p, v in predictions.items()}))
    return found


def predictions(plan: Plan, measured: Measured) -> dict[tuple[str, str], list[int]]:
    """(model, precision) -> classes, of the runs whose accuracy is reported."""
    cells = {model: Cell(model, plan.testers[0], plan.threads[0], max(plan.batch_sizes)) for model in plan.models}
    return {(model, p): measured[cell, p][0].predictions for model, cell in cells.items() for p in PRECISIONS}


def _subset(model: str, subset: Subset, labels: np.ndarray, predictions: dict[str, np.ndarray]) -> SubsetAccuracy:
    n = len(labels)
    right = {p: int((predicted == labels).sum()) for p, predicted in predictions.items()}
    agree = int((predictions["fp32"] == predictions["int8"]).sum())
    return SubsetAccuracy(
        model=model, subset=subset.name, images=n, labels=subset.labels, used_in_training=subset.used_in_training,
        top1={p: count / n for p, count in right.items()},
        top1_interval={p: wilson_interval(count, n) for p, count in right.items()},
        agreement=agree / n, agreement_interval=wilson_interval(agree, n),
    )  # fmt: skip


def checks(plan: Plan, measured: Measured, kernels: dict[str, tuple[int, int, list[str]]]) -> list[Check]:
    """What must hold for the figures to mean what they say."""
    return [
        *(_int8(model, *found) for model, found in kernels.items()),
        _all("affinity", [(c, r.affinity == plan.cpus[: c.threads], f"{r.affinity}") for c, r in _each(measured)],
             "every process ran on the CPUs that it was pinned to"),
        # A run much shorter than a clock tick of the scheduler cannot show its threads: then 0 are busy.
        _all("threads", [(c, r.threads_busy == c.threads, f"{r.threads_busy} busy") for c, r in _each(measured)],
             "as many threads worked as were asked for"),
        _all("accuracy", _same_accuracy(measured), "every repetition and tester gave the same top-1 and top-5"),
        _all("repetitions", _spreads(plan, measured),
             f"paired INT8/FP32 ratios lie within {MAX_RATIO_SPREAD:.0%} of each other"),
    ]  # fmt: skip


def _each(measured: Measured):
    return ((cell, run) for (cell, _), reps in measured.items() for run in reps)


def _all(name: str, outcomes: list[tuple[Cell, bool, str]], meaning: str) -> Check:
    bad = [f"{cell}: {detail}" for cell, ok, detail in outcomes if not ok]
    detail = meaning if not bad else f"not so: {bad[0]}" + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")
    return Check(check=name, ok=not bad, detail=detail)


def _int8(model: str, quantized: int, total: int, names: list[str]) -> Check:
    detail = f"{model}: oneDNN ran {quantized} of {total} convolutions in INT8 ({', '.join(names) or 'no kernel'})"
    return Check(check="int8 kernels", ok=total > 0 and quantized == total, detail=detail)


def _same_accuracy(measured: Measured) -> list[tuple[Cell, bool, str]]:
    first: dict = {}
    outcomes = []
    for (cell, precision), reps in measured.items():
        for run in reps:
            known = first.setdefault((cell.model, precision), (run.top1, run.top5))
            outcomes.append((cell, (run.top1, run.top5) == known, f"{precision} {run.top1}, elsewhere {known[0]}"))
    return outcomes


def _spreads(plan: Plan, measured: Measured) -> list[tuple[Cell, bool, str]]:
    ratios = ((cell, _ratio(measured, cell)) for cell in plan.cells())
    return [(c, r.max - r.min <= MAX_RATIO_SPREAD * r.median, f"{r.min:.2f} to {r.max:.2f}") for c, r in ratios]


def _ratio(measured: Measured, cell: Cell) -> Spread:
    """INT8 over FP32, repetition by repetition."""
    fp32, int8 = ([run.images_per_second for run in measured[cell, p]] for p in PRECISIONS)
    return paired_ratios(int8, fp32)
