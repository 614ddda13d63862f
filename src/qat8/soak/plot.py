"""The memory of each process over time."""

from __future__ import annotations

import matplotlib
from matplotlib.figure import Figure

from qat8.pictures import STYLE, png_and_svg
from qat8.soak.judge import MIB
from qat8.soak.record import Soak

# Okabe and Ito (2008): told apart by colour-blind readers.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")


def pictures(soak: Soak) -> dict[str, bytes]:
    """soak.png and soak.svg, by name."""
    with matplotlib.rc_context(STYLE):
        return png_and_svg(_draw(soak), "soak")


def _draw(soak: Soak) -> Figure:
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for i, process in enumerate(soak.processes):
        colour = COLOURS[i % len(COLOURS)]
        minutes = [s.seconds / 60 for s in process.samples]
        memory = next(g for g in process.growth if g.quantity == "anonymous")
        label = f"{process.name}: {memory.growth / MIB:+.2f} MiB after the dot, {process.images:,} images"
        axes.plot(minutes, [s.anonymous / MIB for s in process.samples], color=colour, linewidth=1.2, label=label)
        axes.plot(process.warm_seconds / 60, memory.start / MIB, "o", color=colour, markersize=4)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("minutes")
    axes.set_ylabel("allocated memory of a process, MiB")
    axes.grid(axis="y", alpha=0.2, linewidth=0.6)
    axes.set_title(f"{soak.model} INT8, {soak.cpu}", loc="left", fontsize=9)
    figure.legend(loc="outside lower left", ncols=1)
    return figure
