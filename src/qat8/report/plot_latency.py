"""The distributions of a batch's latency: a box for each configuration and precision, on a logarithmic axis.

The axis is logarithmic because batches of one and of fifty stand on it; a box is drawn from recorded percentiles, not
from raw latencies, so that the results file stays small.
"""

from __future__ import annotations

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from qat8.older_python import zip_strict
from qat8.report import figures, sentences
from qat8.report.ink import BARS, COLOURS, INK, NARROW, WIDE, offsets
from qat8.results import Results, Run

# matplotlib's name for "lying" changed in 3.10; Python 3.9 gets 3.9.
LYING = {"orientation": "horizontal"} if matplotlib.__version_info__ >= (3, 10) else {"vert": False}
BOX, FRAME, LEGEND = 0.31, 0.8, 0.4  # inches; a row has a box for each precision


def draw(results: Results, models: list[str], narrow: bool) -> Figure:
    by_model = [[row for row in figures.speed_rows(results) if row.model == model and _known(row)] for model in models]
    place = offsets(figures.precisions(results))
    heights = [max(1, len(rows)) * len(place) * BOX + FRAME for rows in by_model]
    figure = Figure(figsize=(NARROW if narrow else WIDE, sum(heights) + LEGEND * (2 if narrow else 1)),
                    layout="constrained")  # fmt: skip
    grid = figure.subplots(len(models), 1, squeeze=False, height_ratios=heights)
    for model, rows, (axes,) in zip_strict(models, by_model, grid):
        for y, row in enumerate(rows):
            for precision, run in row.runs.items():
                if run.latency_percentiles_ms:
                    _box(axes, y + place[precision], BARS / len(place), run)
        labels = [sentences.configuration(row).replace(", batch", "\nbatch") for row in rows]
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(max(1, len(rows)) - 0.45, -0.55)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
        axes.set_xlabel("ms per batch, logarithmic")
        axes.set_title(f"{model}: latency of a batch", loc="left")
    keys = [Patch(color=COLOURS[precision], label=precision.upper()) for precision in place]
    keys.append(
        Line2D(
            [], [], color=INK, label="line: median; box: 25th to 75th percentile;\nwhiskers: 1st to 99th; dot: slowest"
        )
    )
    figure.legend(handles=keys, loc="outside upper left", ncols=1 if narrow else 3)
    return figure


def _known(row: figures.SpeedRow) -> bool:
    return any(run.latency_percentiles_ms for run in row.runs.values())


def _box(axes: Axes, y: float, room: float, run: Run) -> None:
    p = run.latency_percentiles_ms
    stats = {"med": p[50], "q1": p[25], "q3": p[75], "whislo": p[1], "whishi": p[99], "fliers": []}
    colour = COLOURS[run.precision]
    line = {"color": colour, "linewidth": 1.6}
    axes.bxp([stats], positions=[y], widths=room * 0.8, **LYING, showfliers=False, patch_artist=True,
             manage_ticks=False, boxprops={"facecolor": colour, "edgecolor": colour},
             medianprops={"color": INK, "linewidth": 1.2}, whiskerprops=line, capprops=line)  # fmt: skip
    axes.plot(p[100], y, ".", color=colour, markersize=4)  # the slowest of all batches
