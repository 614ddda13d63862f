"""A model's INT8/FP32 over the commits that it was measured at: series from a directory of results, and their plot."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from qat8.older_python import zip_strict
from qat8.report import figures, plots, sentences, text
from qat8.report.figures import Configuration
from qat8.results import Comparison, Results, reasons

Series = tuple[str, Configuration]  # the CPU's name; what was measured


@dataclass(frozen=True)
class Point:
    """One run's ratio, with its 95 % interval, or where it has none the range over its repetitions."""

    created: str
    commit: str  # seven letters; `unknown` outside a checkout
    run_id: str
    valid: bool
    ratio: float
    low: float
    high: float


def series(measured: list[Results], everything: bool = False) -> dict[Series, list[Point]]:
    """By time. Without `everything`: of each model the configuration that its newest run is summed up by."""
    ordered = sorted(measured, key=lambda results: results.created)
    wanted = {row for results in ordered for row in _headlines(results)} if not everything else None
    if wanted is not None:  # of each model the last one only
        newest = {key[0]: key for results in ordered for key in _headlines(results)}
        wanted = set(newest.values())
    found: dict[Series, list[Point]] = {}
    for results in ordered:
        for row in figures.speed_rows(results):
            key = (row.model, row.tester, row.threads, row.instances, row.batch_size)
            if row.comparison and (wanted is None or key in wanted):
                found.setdefault((sentences.cpu_with_signature(results), key), []).append(
                    _point(results, row.comparison)
                )
    return found


def _headlines(results: Results) -> list[Configuration]:
    rows = figures.speed_rows(results)
    heads = (figures.headline_row(rows, model) for model in figures.models(results))
    return [(r.model, r.tester, r.threads, r.instances, r.batch_size) for r in heads if r]


def _point(results: Results, compared: Comparison) -> Point:
    low, high = compared.speedup_interval or (compared.speedup_min, compared.speedup_max)
    commit, dirty, _ = (results.environment.git_commit or "unknown").partition("-dirty")
    valid = not reasons(results.environment.validity)
    name = commit[:7] + ("+" if dirty else "")
    return Point(results.created, name, results.run_id, valid, compared.speedup, low, high)


def name(key: Series) -> str:
    cpu, (model, tester, threads, instances, batch) = key
    several = f"{instances} × " if instances > 1 else ""
    return f"{model}, {text.tester(tester)}, {several}{text.count(threads, 'thread')}, batch {batch}, {cpu}"


def table(found: dict[Series, list[Point]]) -> str:
    """CSV, a row per point."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["cpu", "model", "tester", "threads", "instances", "batch_size", "created", "commit", "run_id",
                     "valid", "ratio", "low", "high"])  # fmt: skip
    for (cpu, key), points in found.items():
        for p in points:
            writer.writerow([cpu, *key, p.created, p.commit, p.run_id, p.valid, p.ratio, p.low, p.high])
    return out.getvalue()


def draw(found: dict[Series, list[Point]]) -> dict[str, bytes]:
    """history.png and history.svg: one panel for each series, the runs in the order of time."""
    with matplotlib.rc_context(plots.STYLE):
        longest = max(len(points) for points in found.values())
        figure = Figure(figsize=(max(6.0, 2 + 0.5 * longest), 2.6 * len(found)), layout="constrained")
        grid = figure.subplots(len(found), 1, squeeze=False)
        for (axes,), (key, points) in zip_strict(grid, found.items()):
            _panel(axes, points)
            axes.set_title(name(key), loc="left")
        return plots.both(figure, "history")


def _panel(axes, points: list[Point]) -> None:
    for x, p in enumerate(points):
        ends = [[max(0.0, p.ratio - p.low)], [max(0.0, p.high - p.ratio)]]
        axes.errorbar(x, p.ratio, yerr=ends, fmt="o", color=plots.COLOURS["int8"], capsize=3,
                      markerfacecolor=plots.COLOURS["int8"] if p.valid else "white")  # fmt: skip
    axes.plot(range(len(points)), [p.ratio for p in points], color=plots.COLOURS["int8"], linewidth=0.8, alpha=0.6)
    axes.axhline(1, color=plots.INK, linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(points)), [f"{p.commit}\n{p.created[5:16]}" for p in points], rotation=45, ha="right")
    axes.set_xlim(-0.5, len(points) - 0.5)
    axes.set_ylim(0, max(p.high for p in points) * 1.15)
    axes.set_ylabel("INT8/FP32")
    axes.grid(axis="y", color=plots.INK, alpha=0.15, linewidth=0.6)
    if not all(p.valid for p in points):
        axes.annotate("hollow: INVALID run", (1, 1), xycoords="axes fraction", ha="right", va="top")
