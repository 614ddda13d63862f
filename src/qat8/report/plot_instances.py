"""The plot of the sweep: how one instance scales with its threads, and what each split of the machine gives."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qat8.older_python import zip_strict
from qat8.report import loads, text
from qat8.report.ink import COLOURS, INK, NARROW, WIDE
from qat8.report.loads import Pair
from qat8.results import Results

MARKERS = {"fp32": "s", "int8": "o"}
SHOWN = {precision: COLOURS[precision] for precision in MARKERS}
HEIGHT, FRAME, ROW = 2.4, 1.0, 0.5  # inches; a split is a row


def draw(results: Results, models: list[str], narrow: bool) -> Figure:
    """A row of two drawings for each model and batch size; narrow ones stand below each other."""
    groups = [
        (f"{model}, batch {batch}", [pair for pair in loads.pairs(results, model) if pair.fp32.batch_size == batch])
        for model in models
        for batch in dict.fromkeys(pair.fp32.batch_size for pair in loads.pairs(results, model))
    ]
    heights = [max(HEIGHT, FRAME + ROW * len(found)) for _, found in groups]
    columns = 1 if narrow else 2
    size = (NARROW if narrow else WIDE, sum(heights) * (2 if narrow else 1) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    ratios = [h for h in heights for _ in range(3 - columns)]
    grid = figure.subplots(len(ratios), columns, squeeze=False, height_ratios=ratios).reshape(len(groups), 2)
    for (name, found), (left, right) in zip_strict(groups, grid):
        _scaling(left, name, [pair for pair in found if pair.fp32.instances == 1])
        _splits(right, name if narrow else "", found)
    keys = [Line2D([], [], color=c, marker=MARKERS[p], label=f"{p.upper()} (min to max)") for p, c in SHOWN.items()]
    keys.append(Line2D([], [], color=INK, linestyle=":", linewidth=0.8, label="1 thread × number of threads"))
    figure.legend(handles=keys, loc="outside upper left", ncols=1 if narrow else 3)
    return figure


def _ends(record) -> list[list[float]]:
    middle = record.images_per_second
    return [[middle - min(record.repetitions)], [max(record.repetitions) - middle]]


def _scaling(axes: Axes, name: str, single: list[Pair]) -> None:
    for precision, colour in SHOWN.items():
        records = [getattr(pair, precision) for pair in single]
        threads, speeds = [r.threads for r in records], [r.images_per_second for r in records]
        axes.plot(threads, speeds, color=colour, marker=MARKERS[precision])
        for record in records:
            middle = record.images_per_second
            axes.errorbar(record.threads, middle, yerr=_ends(record), color=colour, capsize=3)
        if threads and threads[0] == 1:
            axes.plot([1, threads[-1]], [speeds[0], speeds[0] * threads[-1]], color=INK, linestyle=":", linewidth=0.8)
    axes.set_xticks([pair.fp32.threads for pair in single])
    axes.set_ylim(bottom=0)
    axes.grid(color=INK, alpha=0.15, linewidth=0.6)
    axes.set_xlabel("threads of one instance")
    axes.set_ylabel("images/s")
    axes.set_title(f"{name}: one instance", loc="left")


def _splits(axes: Axes, name: str, found: list[Pair]) -> None:
    chosen = loads.best(found)
    longest = 0.0
    for y, pair in enumerate(found):
        for record, offset in ((pair.fp32, -0.19), (pair.int8, 0.19)):
            speed = record.images_per_second
            axes.barh(y + offset, speed, height=0.36, color=COLOURS[record.precision])
            axes.errorbar(speed, y + offset, xerr=_ends(record), fmt="none", ecolor=INK, capsize=3)
            best = pair is chosen and record.precision == "int8"
            label = text.speed(speed) + (f"  ({text.ratio(pair.ratio)}×)" if record.precision == "int8" else "")
            where = (max(record.repetitions), y + offset)
            axes.annotate(
                label + ("  best" if best else ""), where, xytext=(5, 0), textcoords="offset points", va="center",
                fontweight="bold" if best else "normal",
            )  # fmt: skip
            longest = max(longest, *record.repetitions)
    axes.set_yticks(range(len(found)), [loads.split(pair.fp32) for pair in found])
    axes.set_ylim(len(found) - 0.45, -0.55)
    axes.set_xlim(0, longest * 1.75 or 1)
    axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("images/s together")
    axes.set_title(f"{name}: instances × threads" if name else "Instances × threads of each", loc="left")
