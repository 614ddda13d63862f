"""Testers' runs -> the records of the results file: medians, paired ratios, accuracy by subset and gate by gate."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from qat8 import processes
from qat8.benchmarking import gate
from qat8.benchmarking.measure import Measured
from qat8.benchmarking.plan import BF16, Cell, Plan
from qat8.errors import DataError
from qat8.older_python import zip_strict
from qat8.results import AccuracyGate, Comparison, Latency, Run, SubsetAccuracy
from qat8.statistics import bootstrap_interval, median, paired_ratios, percentiles, wilson_interval
from qat8.tester_run import TesterRun


@dataclass(frozen=True)
class Subset:
    """Rows `start` to `start + count` of the data file."""

    name: str
    start: int
    count: int
    labels: str
    used_in_training: bool


def subsets(found: object, images: int, data: Path) -> list[Subset]:
    """What a data file's manifest says of its rows.

    Raises:
        DataError: not that, or rows that the file does not have.
    """
    try:
        known = TypeAdapter(list[Subset]).validate_json(json.dumps(found), strict=True)
    except ValidationError as e:
        raise DataError(f"{data}: its manifest's subsets: {e.errors()[0]['msg']}", next_step="inv preprocess") from e
    for subset in known:
        if subset.start < 0 or subset.count < 1 or subset.start + subset.count > images:
            raise DataError(f"{data}: its manifest speaks of images {subset.start} to {subset.start + subset.count}",
                            f"at most {images}", "inv preprocess")  # fmt: skip
    return known


def runs(plan: Plan, measured: Measured) -> list[Run]:
    return [_run(plan, cell, precision, reps) for (cell, precision), reps in measured.items()]


def _run(plan: Plan, cell: Cell, precision: str, reps: list[TesterRun]) -> Run:
    latency = {name: median([getattr(r.latency_ms, name) for r in reps]) for name in Latency.model_fields}
    cpus = plan.cpus[: cell.threads]
    return Run(
        model=cell.model, precision=precision, tester=cell.tester, threads=cell.threads, batch_size=cell.batch_size,
        images=reps[0].images, images_per_second=median([r.images_per_second for r in reps]),
        latency_ms=Latency(**latency), **_tops(plan, cell.model, reps[0]),
        peak_rss_bytes=max(r.peak_rss_bytes for r in reps), repetitions=[r.images_per_second for r in reps],
        threads_alive=max(r.threads_alive for r in reps), threads_busy=max(r.threads_busy for r in reps),
        cpus=reps[0].affinity, init_ms=median([r.init_ms for r in reps]), partial_batch=reps[0].partial_batch,
        command=processes.pinned(cpus, plan.command(cell, precision)),
        latency_percentiles_ms=[round(ms, 3) for ms in percentiles([ms for r in reps for ms in r.latencies_ms])],
        measured_batches=sum(r.measured_batches for r in reps),
        conditions=[r.conditions for r in reps if r.conditions],
        engine=reps[0].engine,
    )  # fmt: skip


def comparisons(plan: Plan, measured: Measured, precision: str = "int8") -> list[Comparison]:
    """Of `precision` against FP32, wherever it was measured."""
    found = []
    for cell in plan.cells():
        if (cell, precision) not in measured:
            continue
        fp32, narrow = (measured[cell, p] for p in ("fp32", precision))
        tops, narrowed = (_tops(plan, cell.model, runs[0]) for runs in (fp32, narrow))
        speeds = ([run.images_per_second for run in runs] for runs in (narrow, fp32))
        ratio = paired_ratios(*speeds)
        record = Comparison(
            model=cell.model,
            tester=cell.tester,
            threads=cell.threads,
            batch_size=cell.batch_size,
            speedup=ratio.median,
            speedup_min=ratio.min,
            speedup_max=ratio.max,
            top1_diff=_difference(narrowed["top1"], tops["top1"]),
            top5_diff=_difference(narrowed["top5"], tops["top5"]),
            speedup_interval=bootstrap_interval(
                [b.images_per_second / a.images_per_second for a, b in zip_strict(fp32, narrow)]
            ),
        )
        found.append(record)
    return found


def _tops(plan: Plan, model: str, run: TesterRun) -> dict[str, float | None]:
    """Of a model with random weights there is no accuracy, whatever its outputs happen to hit."""
    untrained = model in plan.untrained
    return {name: None if untrained else getattr(run, name) for name in ("top1", "top5")}


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def accuracy(plan: Plan, measured: Measured, labels: np.ndarray, subsets: list[Subset]) -> list[SubsetAccuracy]:
    """Per model and subset, from the predictions of the first tester at one thread and the largest batch."""
    if len(subsets) > 1:  # the whole file too: agreement needs no labels, and more images make it finer
        used = any(subset.used_in_training for subset in subsets)
        subsets = [*subsets, Subset("all", 0, len(labels), "as in its parts", used)]
    found = []
    for model in plan.models:
        predictions = _predictions(plan, measured, model)
        for subset in subsets:
            rows = slice(subset.start, subset.start + subset.count)
            one = _subset(model, subset, labels[rows], {p: v[rows] for p, v in predictions.items()})
            found.append(_without_accuracy(one) if model in plan.untrained else one)
    return found


def _without_accuracy(subset: SubsetAccuracy) -> SubsetAccuracy:
    nothing = dict.fromkeys(subset.top1)
    return subset.model_copy(update={"top1": nothing, "top1_interval": nothing})


def predictions(plan: Plan, measured: Measured) -> dict[tuple[str, str], list[int]]:
    """(model, precision) -> classes, of the runs whose accuracy is reported."""
    cells = {model: Cell(model, plan.testers[0], plan.threads[0], max(plan.batch_sizes)) for model in plan.models}
    return {(model, p): measured[cell, p][0].predictions for model, cell in cells.items() for p in plan.precisions}


def _subset(model: str, subset: Subset, labels: np.ndarray, predictions: dict[str, np.ndarray]) -> SubsetAccuracy:
    n = len(labels)
    right = {p: int((predicted == labels).sum()) for p, predicted in predictions.items()}
    agree = {p: int((predictions["fp32"] == predicted).sum()) for p, predicted in predictions.items()}
    bf16 = agree.get(BF16)
    return SubsetAccuracy(
        model=model, subset=subset.name, images=n, labels=subset.labels, used_in_training=subset.used_in_training,
        top1={p: count / n for p, count in right.items()},
        top1_interval={p: wilson_interval(count, n) for p, count in right.items()},
        agreement=agree["int8"] / n, agreement_interval=wilson_interval(agree["int8"], n),
        bf16_agreement=None if bf16 is None else bf16 / n,
        bf16_agreement_interval=None if bf16 is None else wilson_interval(bf16, n),
    )  # fmt: skip


def _predictions(plan: Plan, measured: Measured, model: str) -> dict[str, np.ndarray]:
    """Of the run whose accuracy is reported: the first tester at the first thread count and the largest batch."""
    cell = Cell(model, plan.testers[0], plan.threads[0], max(plan.batch_sizes))
    return {p: np.array(measured[cell, p][0].predictions) for p in plan.precisions}


def gates(
    plan: Plan, measured: Measured, labels: np.ndarray, subsets: list[Subset], max_drop: float, classes: int = 1000
) -> list[AccuracyGate]:
    """By model and precision, on the largest subset whose labels training has not seen. `max_drop`: a fraction of 1."""
    independent = [subset for subset in subsets if not subset.used_in_training and subset.count]
    found = []
    for model, precision in itertools.product(plan.models, [p for p in reversed(plan.precisions) if p != "fp32"]):
        predictions = _predictions(plan, measured, model)
        if model in plan.untrained:
            why = "its weights are random: there is no accuracy to lose"
            found.append(gate.without_labels(model, precision, max_drop, why))
            continue
        if not independent or len(predictions["fp32"]) != len(labels):
            why = "no labelled images that training has not seen" if not independent else "the model gives no classes"
            found.append(gate.without_labels(model, precision, max_drop, why))
            continue
        subset = max(independent, key=lambda s: s.count)
        rows = slice(subset.start, subset.start + subset.count)
        chosen = {p: v[rows] for p, v in predictions.items()}
        found.append(gate.judge(model, subset.name, chosen, labels[rows], max_drop, classes, precision))
    return found
