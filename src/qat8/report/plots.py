"""The two plots, by matplotlib: speed and accuracy, each beside the tutorial's figures.

The page gets a wide and a narrow drawing of each model as inline SVG whose ink is the page's text colour, so that they
follow dark mode and print; the files speed.* and accuracy.* hold all models on white. Colours are Okabe and Ito's
(2008), told apart by colour-blind readers and in grey; markers differ in shape too.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Iterable

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from qat8 import tutorial
from qat8.older_python import zip_strict
from qat8.report import figures, plot_instances, plot_latency, text
from qat8.report.figures import SpeedRow
from qat8.report.ink import BARS, COLOURS, INK, NARROW, WIDE, offsets
from qat8.results import Precision, Results

GAP = 0.02  # between the bars of a row
PALE = 0.25  # of what could be, behind what is
BELOW = 0.16  # the tutorial's ratios stand below ours, so that equal ones do not hide each other
SERVER_MARKERS = {tutorial.GOLD_6271: ("D", "#009E73"), tutorial.GOLD_6148: ("^", "#CC79A7")}
BAR_HEIGHT, FRAME_HEIGHT, LEGEND_HEIGHT = 0.26, 0.75, 0.45  # inches; a row has a bar for each precision

STYLE = {
    "svg.fonttype": "none",  # text stays text: sharp, small, can be selected and searched
    "svg.hashsalt": "qat8",  # the same results give the same bytes
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlesize": 10,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "ytick.left": False,
    "legend.frameon": False,
}
_NO_DATE = {"Date": None, "Creator": None, "Format": None, "Type": None}


def files(results: Results) -> dict[str, bytes]:
    """speed.*, accuracy.* and, where they were recorded, latency.* and instances.*, each as png and svg, by name."""
    made, results = {}, figures.ours(results)
    drawn = [("speed", _speed), ("accuracy", _accuracy)]
    drawn += [("instances", plot_instances.draw)] if results.instances else []
    drawn += [("latency", plot_latency.draw)] if figures.has_distributions(results) else []
    with matplotlib.rc_context(STYLE):
        for name, draw in drawn:
            made |= both(draw(results, figures.models(results), narrow=False), name)
    return made


def both(figure: Figure, name: str) -> dict[str, bytes]:
    """NAME.png and NAME.svg, on white."""
    png = _save(figure, "png", facecolor="white", dpi=150, metadata={"Software": None})
    return {f"{name}.png": png, f"{name}.svg": _save(figure, "svg", facecolor="white", metadata=_NO_DATE)}


def inline_speed(results: Results) -> list[tuple[str, str, str]]:
    """For the page: (model, wide SVG, narrow SVG)."""
    return _inline(results, "speed", _speed)


def inline_accuracy(results: Results) -> list[tuple[str, str, str]]:
    return _inline(results, "accuracy", _accuracy)


def inline_instances(results: Results) -> list[tuple[str, str, str]]:
    return _inline(results, "instances", plot_instances.draw) if results.instances else []


def inline_latency(results: Results) -> list[tuple[str, str, str]]:
    return _inline(results, "latency", plot_latency.draw) if figures.has_distributions(results) else []


def _inline(results: Results, name: str, draw: Callable[..., Figure]) -> list[tuple[str, str, str]]:
    drawn, results = [], figures.ours(results)
    with matplotlib.rc_context(STYLE):
        for number, model in enumerate(figures.models(results)):
            both = []
            for narrow in (False, True):
                svg = _save(draw(results, [model], narrow=narrow), "svg", transparent=True, metadata=_NO_DATE).decode()
                both.append(_embedded(svg, f"{name}{number}{'n' if narrow else 'w'}"))
            drawn.append((model, *both))
    return drawn


def _embedded(svg: str, prefix: str) -> str:
    """An SVG file as part of a page: no prolog, ids of its own, and the page's text colour for ink."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    return re.sub(r'(xlink:href="#|url\(#)', rf"\1{prefix}-", svg)


def _save(figure: Figure, form: str, **options) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format=form, **options)
    return out.getvalue()


def _speed(results: Results, models: list[str], narrow: bool) -> Figure:
    by_model = [[row for row in figures.speed_rows(results) if row.model == model] for model in models]
    shown = figures.precisions(results)
    heights = [len(rows) * len(shown) * BAR_HEIGHT + FRAME_HEIGHT for rows in by_model]
    if narrow:
        figure = _figure(NARROW, 2 * sum(heights) + LEGEND_HEIGHT * 2)
        grid = figure.subplots(2 * len(models), 1, squeeze=False, height_ratios=[h for h in heights for _ in "12"])
        grid = grid.reshape(len(models), 2)
    else:
        figure = _figure(WIDE, sum(heights) + LEGEND_HEIGHT)
        grid = figure.subplots(len(models), 2, squeeze=False, height_ratios=heights, width_ratios=[3, 2])
    for rows, (left, right) in zip_strict(by_model, grid):
        _draw_speeds(left, rows, shown, figures.limits(results, rows), room=1.6 if narrow else 1.35)
        _draw_ratios(right, rows, labelled=narrow)
    ratio_keys = [Line2D([], [], color=INK, marker="o", linestyle="", label="ratio here (min to max)")]
    for server, (marker, colour) in SERVER_MARKERS.items():
        label = f"tutorial, {server.short}"
        ratio_keys.append(Line2D([], [], color=colour, marker=marker, linestyle="", label=label))
    if figures.limits(results, [row for rows in by_model for row in rows]):
        ratio_keys.append(Patch(color=INK, alpha=PALE, label="pale: limit of direct sums"))
    _legend(figure, [*_bar_keys(shown, "(min to max)"), *ratio_keys], columns=2 if narrow else 3)
    return figure


def _draw_speeds(axes: Axes, rows: list[SpeedRow], shown: list[Precision], limits: figures.Limits, room: float) -> None:
    longest, place = 0.0, offsets(shown)
    for y, row in enumerate(rows):
        for precision, run in row.runs.items():
            least, most = min(run.repetitions, default=0), max(run.repetitions, default=0)
            ends = (least, most) if run.repetitions else None
            _bar(axes, y + place[precision], BARS / len(shown), precision, run.images_per_second, ends)
            end = max(most, run.images_per_second)
            label = text.speed(run.images_per_second)
            if limit := limits.get((y, precision)):
                axes.barh(y + place[precision], limit, height=BARS / len(shown) - GAP, color=COLOURS[precision],
                          alpha=PALE, zorder=0.9)  # fmt: skip
                end, label = max(end, limit), f"{label} of {text.speed(limit)}"
            longest = max(longest, end)
            if compared := {"int8": row.comparison, "bf16": row.bf16_comparison}.get(precision):
                label += f"  ({text.ratio(compared.speedup)}×)"
            axes.annotate(
                label,
                (end, y + place[precision]),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontweight="bold" if precision == "int8" else "normal",
            )
    _rows(axes, [_configuration(row) for row in rows])
    axes.set_xlim(0, longest * (room * 1.25 if limits else room) or 1)
    axes.set_xlabel("images/s")
    axes.set_title(f"{rows[0].model}: images per second", loc="left")


def _draw_ratios(axes: Axes, rows: list[SpeedRow], labelled: bool) -> None:
    largest = 1.0
    for y, row in enumerate(rows):
        for server, their in row.tutorial.items():
            marker, colour = SERVER_MARKERS[server]
            axes.plot(their.ratio, y + BELOW, marker, color=colour, markersize=7)
            largest = max(largest, their.ratio)
        if row.comparison:
            ours = row.comparison
            ends = [[max(0, ours.speedup - ours.speedup_min)], [max(0, ours.speedup_max - ours.speedup)]]
            axes.errorbar(ours.speedup, y - BELOW, xerr=ends, fmt="o", color=INK, capsize=3, markersize=5)
            largest = max(largest, ours.speedup_max)
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
    _rows(axes, [_configuration(row) if labelled else "" for row in rows])
    axes.set_xlim(0, largest * 1.1)
    axes.set_xlabel("INT8/FP32 (dotted: no gain)")
    axes.set_title(f"{rows[0].model}: ratio" if labelled else "Ratio, beside the tutorial's", loc="left")


def _accuracy(results: Results, models: list[str], narrow: bool) -> Figure:
    bars, shown = [_accuracy_bars(results, model) for model in models], figures.precisions(results)
    heights = [max(1, len(rows)) * len(shown) * BAR_HEIGHT + FRAME_HEIGHT for rows in bars]
    figure = _figure(NARROW if narrow else WIDE, sum(heights) + LEGEND_HEIGHT)
    grid = figure.subplots(len(models), 1, squeeze=False, height_ratios=heights)
    for model, rows, (axes,) in zip_strict(models, bars, grid):
        for y, (_, tops, intervals) in enumerate(rows):
            _draw_top1(axes, y, shown, tops, intervals)
        _rows(axes, [label for label, _, _ in rows])
        axes.set_xlim(0, 1.22)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.spines["bottom"].set_bounds(0, 1)  # the rest of the width is for labels: there is no 110 %
        axes.set_title(f"{model}: top-1 accuracy", loc="left")
    _legend(figure, _bar_keys(shown, "(95 % Wilson interval)"), columns=1 if narrow else 2)
    return figure


def _accuracy_bars(results: Results, model: str) -> list[tuple[str, dict, dict]]:
    """(label, top-1 text and share by precision, interval by precision), one for each row of bars."""
    bars = []
    for subset in figures.subsets(results, model):
        label = textwrap.fill(subset.subset, 22) + f"\n{text.count(subset.images, 'image')}"
        label += ", trained on" if subset.used_in_training else ""
        tops = {p: (share, text.percent(share, subset.images)) for p, share in subset.top1.items()}
        bars.append((label, tops, {p: figures.top1_interval(subset, p) for p in tops}))
    for server, row in tutorial.accuracy(model).items():
        tops = {
            p: (share / 100, f"{text.fixed(share, 2)} %")
            for p, share in (("fp32", row.fp32_top1), ("int8", row.int8_top1))
        }
        bars.append((f"tutorial, ImageNet\n{server.short}", tops, {}))
    return bars


def _draw_top1(axes: Axes, y: int, shown: list[Precision], tops: dict, intervals: dict) -> None:
    place = offsets(shown)
    for precision, (share, label) in tops.items():
        ends = intervals.get(precision)
        if share is not None:
            _bar(axes, y + place[precision], BARS / len(shown), precision, share, ends)
        where = (max(share or 0, ends[1] if ends else 0), y + place[precision])
        axes.annotate(label, where, xytext=(5, 0), textcoords="offset points", va="center")


def _bar(
    axes: Axes, y: float, room: float, precision: Precision, value: float, ends: tuple[float, float] | None
) -> None:
    axes.barh(y, value, height=room - GAP, color=COLOURS[precision])
    if ends:
        error = [[max(0, value - ends[0])], [max(0, ends[1] - value)]]
        axes.errorbar(value, y, xerr=error, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)


def _configuration(row: SpeedRow) -> str:
    instances = f"{row.instances} × " if row.instances > 1 else ""
    return f"{text.tester(row.tester)}, {instances}{text.count(row.threads, 'thread')}\nbatch {row.batch_size}"


def _rows(axes: Axes, labels: list[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(max(1, len(labels)) - 0.45, -0.55)  # the first row on top
    axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _bar_keys(shown: list[Precision], what: str) -> list[Patch]:
    return [Patch(color=COLOURS[precision], label=f"{precision.upper()} {what}") for precision in shown]


def _legend(figure: Figure, keys: Iterable, columns: int) -> None:
    figure.legend(handles=list(keys), loc="outside upper left", ncols=columns)
