"""A sensitivity measurement for people: table, CSV rows, plot."""

from __future__ import annotations

import matplotlib
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from qat8.int8.sensitivity import Score, Sensitivity
from qat8.pictures import STYLE, png_and_svg

HEADER = ("layer", "operator", "top1", "top1_loss_points", "agreement_with_fp32", "divergence_nats", "divergence_added")
COLOUR, REFERENCE = "#0072B2", "#E69F00"  # Okabe and Ito (2008)
ROW_HEIGHT, FRAME_HEIGHT, WIDTH = 0.19, 1.2, 8.0  # inches


def loss(found: Sensitivity, score: Score) -> float:
    """Top-1 lost against FP32, in percentage points."""
    return 100 * (found.fp32.top1 - score.top1)


def added(found: Sensitivity, score: Score) -> float:
    """Divergence beyond that of the model with no layer quantized, in nats; may be negative by chance."""
    return score.divergence - found.none.divergence


def ranked(found: Sensitivity) -> list:
    """The layers, the most sensitive first."""
    return sorted(found.layers, key=lambda one: -one.score.divergence)


def rows(found: Sensitivity) -> list[tuple]:
    """Of the CSV file: the header, no layer, every layer, each layer in the model's order."""

    def row(layer: str, operator: str, s: Score) -> tuple:
        return (layer, operator, s.top1, loss(found, s), s.agreement, s.divergence, added(found, s))

    whole = [row("(none)", "", found.none), row("(every)", "", found.every)]
    return [HEADER, *whole, *(row(one.layer, one.operator, one.score) for one in found.layers)]


def table(name: str, found: Sensitivity) -> Table:
    """The most sensitive layer first."""
    title = f"{name}: each layer quantized alone, {found.images} images, FP32 top-1 {found.fp32.top1:.1%}"
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for column in ("Layer", "Operator"):
        drawn.add_column(column)
    for column in ("Top-1 loss", "Same class", "KL, nats", "added"):
        drawn.add_column(column, justify="right")

    def add(layer: str, operator: str, s: Score) -> None:
        figures = (f"{loss(found, s):+.1f}", f"{s.agreement:.1%}", f"{s.divergence:.5f}", f"{added(found, s):+.5f}")
        drawn.add_row(layer, operator, *figures)

    for one in ranked(found):
        add(one.layer, one.operator, one.score)
    add("none of them", "", found.none)
    add("every one", "", found.every)
    return drawn


def summary(found: Sensitivity) -> str:
    """What the figures are, and how fine they can be."""
    return (
        f"Top-1 loss in points against FP32 (one image is {100 / found.images:.2f}); same class: share of images that "
        "get FP32's class; KL: mean KL(FP32 || INT8); added: beyond none of them."
    )


def pictures(name: str, found: Sensitivity) -> dict[str, bytes]:
    """sensitivity.png and sensitivity.svg: a bar per layer in the model's order."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, FRAME_HEIGHT + ROW_HEIGHT * len(found.layers)), layout="constrained")
        axes = figure.add_subplot()
        values = [added(found, one.score) for one in found.layers]
        axes.barh(range(len(values)), values, height=0.75, color=COLOUR)
        axes.axvline(added(found, found.every), color=REFERENCE, linestyle="--", label="every layer quantized")
        axes.axvline(0, color="#1b1b1b", linewidth=0.8)
        axes.set_yticks(range(len(values)), [one.layer for one in found.layers])
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.set_xlabel("divergence from FP32 that quantizing this layer alone adds, nats")
        axes.set_title(f"{name}, {found.images} images", loc="left", fontsize=9)
        axes.legend(loc="best")
        return png_and_svg(figure, "sensitivity")
