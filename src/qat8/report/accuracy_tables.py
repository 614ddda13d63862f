"""Accuracy to tables of text: the gate, subset by subset, beside the tutorial's, for the terminal."""

from __future__ import annotations

from qat8 import tutorial
from qat8.report import figures, text
from qat8.report.tables import Table
from qat8.results import Precision, Results, SubsetAccuracy


def gates(results: Results) -> Table:
    body = []
    for gate in results.gates:
        ends = "–"
        if gate.interval:
            ends = f"{text.points(gate.interval[0], gate.images)} to {text.points(gate.interval[1], gate.images)}"
        change = text.points(gate.top1_diff, gate.images)
        limit = f"{gate.max_top1_drop * 100:g}"
        body.append((gate.subject, gate.subset or "none", f"{gate.images:,}", change, ends, limit, gate.outcome))
    return Table(
        "Accuracy gate: top-1 of INT8 (BF16) less FP32's on the same images, in points, with its 95 % interval",
        ("Model", "Subset", "Images", "Diff.", "95 % interval", "May lose", "Outcome"),
        body,
        labels=2,
        remarks=1,
    )


def subsets(results: Results) -> Table:
    return Table(
        "Accuracy by subset: top-1 with its 95 % Wilson interval, difference in percentage points (INT8 minus FP32), "
        "and how often INT8 names FP32's class",
        ("Model", "Subset", "Trained on", "Images", "FP32 top-1", "INT8 top-1", "Diff.", "Agreement", "Labels"),
        [_subset(row, "int8", row.agreement, row.agreement_interval) for row in results.accuracy],
        labels=3,
        remarks=1,
    )


def bf16_subsets(results: Results) -> list[Table]:
    measured = [row for row in results.accuracy if row.bf16_agreement is not None]
    return [Table(
        "The same of BF16",
        ("Model", "Subset", "Trained on", "Images", "FP32 top-1", "BF16 top-1", "Diff.", "Agreement", "Labels"),
        [_subset(row, "bf16", row.bf16_agreement, row.bf16_agreement_interval) for row in measured],
        labels=3,
        remarks=1,
    )] if measured else []  # fmt: skip


def beside_tutorial(results: Results) -> Table:
    """Top-1 and top-5 over the whole data file, and the tutorial's."""
    body = []
    for model in figures.models(results):
        whole = figures.whole_run(results, model)
        cells = []
        for top in (whole.top1, whole.top5):
            shares = [text.percent(top[precision], whole.images) for precision in ("fp32", "int8")]
            cells += [*shares, text.points(figures.difference(top), whole.images)]
        trained = any(subset.used_in_training for subset in figures.subsets(results, model))
        where = f"here, {text.count(whole.images, 'image')}{', some trained on' if trained else ''}"
        body.append((model, where, *cells))
        body += [
            (model, f"tutorial, {server.name}", *_tutorial_cells(row))
            for server, row in tutorial.accuracy(model).items()
        ]
    tops = [name for top in ("top-1", "top-5") for name in (f"FP32 {top}", f"INT8 {top}", "Diff.")]
    return Table("Accuracy over the whole data file beside the tutorial's", ("Model", "Where", *tops), body, labels=2)


def summary(results: Results) -> Table:
    """For the terminal."""
    body = []
    for row in results.accuracy:
        tops = [text.percent(row.top1.get(precision), row.images) for precision in ("fp32", "int8")]
        change = figures.difference(row.top1)
        change = "–" if change is None else text.points(change, row.images)
        agreement = text.percent(row.agreement, row.images)
        name = f"{row.subset}*" if row.used_in_training else row.subset
        body.append((row.model, name, f"{row.images:,}", *tops, change, agreement))
    columns = ("Model", "Subset", "Images", "FP32 top-1", "INT8 top-1", "Diff.", "Agreement")
    return Table(
        "Top-1, difference in points, INT8 naming FP32's class (* used in training: no accuracy)",
        columns,
        body,
        labels=2,
    )


def _subset(row: SubsetAccuracy, precision: Precision, share: float, ends: tuple[float, float]) -> tuple[str, ...]:
    """`share`, `ends`: how often `precision` names FP32's class."""
    n = row.images
    tops = []
    for each in ("fp32", precision):
        top1 = row.top1.get(each)
        around = figures.top1_interval(row, each)
        tops.append(text.percent(top1, n) + (f"\n({text.interval(around, n)})" if top1 is not None else ""))
    agreement = f"{text.percent(share, n)}\n({text.interval(ends, n)})"
    trained = "yes" if row.used_in_training else "no"
    change = text.points(figures.difference(row.top1, precision), n)
    return row.model, row.subset, trained, f"{n:,}", *tops, change, agreement, row.labels


def _tutorial_cells(row: tutorial.Accuracy) -> tuple[str, ...]:
    cells = []
    for fp32, int8, change in (row[:3], row[3:]):
        cells += [f"{text.fixed(fp32, 2)} %", f"{text.fixed(int8, 2)} %", text.signed(change, 2)]
    return tuple(cells)
