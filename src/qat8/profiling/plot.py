"""The profile as a picture: a bar per operator in the order of the run, its length its time, its colour its type."""

from __future__ import annotations

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from qat8.pictures import BARS_STYLE, png_and_svg
from qat8.profiling.record import Profile, Step
from qat8.profiling.tables import OUTSIDE, TYPES, heading

# Okabe and Ito (2008): told apart by colour-blind readers and in grey.
COLOURS = {"INT8": "#0072B2", "FP32": "#E69F00", "BF16": "#009E73", "reorder": "#D55E00", OUTSIDE: "#999999"}
ROW_HEIGHT, FRAME_HEIGHT, WIDTH = 0.19, 1.3, 9.5  # inches


def pictures(profile: Profile) -> dict[str, bytes]:
    """profile.png and profile.svg, by name."""
    with matplotlib.rc_context(BARS_STYLE):
        return png_and_svg(_draw(profile), "profile")


def precision(step: Step) -> str:
    """INT8, FP32 or BF16, by the source of the step's main primitive."""
    dtype = step.main.operands["src"].dtype if step.main and "src" in step.main.operands else ""
    return "INT8" if dtype in ("s8", "u8") else TYPES.get(dtype, "FP32")


def _draw(profile: Profile) -> Figure:
    bars = [step for step in profile.steps if step.primitives]
    figure = Figure(figsize=(WIDTH, FRAME_HEIGHT + ROW_HEIGHT * (len(bars) + 1)), layout="constrained")
    axes = figure.add_subplot()
    seen = set()
    for row, step in enumerate(bars):
        reorder = sum(p.ms for p in step.primitives if p.kind == "reorder")
        for name, start, length in ((precision(step), 0, step.ms - reorder), ("reorder", step.ms - reorder, reorder)):
            if length > 0:
                axes.barh(row, length, left=start, height=0.75, color=COLOURS.get(name, "#56B4E9"))
                seen.add(name)
        rate = step.main.rate
        note = f" {profile.share(step.ms):.1%}" + (f", {rate:.0f} GOP/s" if rate else "")
        axes.text(step.ms, row, note, va="center", fontsize=6.5)
    rest = max(0.0, profile.total_ms - profile.inside_ms)
    axes.barh(len(bars), rest, height=0.75, color=COLOURS[OUTSIDE])
    axes.text(rest, len(bars), f" {profile.share(rest):.1%}", va="center", fontsize=6.5)
    axes.set_yticks(range(len(bars) + 1), [f"{s.index}  {s.operator} {s.layer}"[:40] for s in bars] + [OUTSIDE])
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.01)
    axes.set_xlabel(f"milliseconds of a run of {profile.total_ms:.1f} ms")
    axes.set_title(f"{heading(profile)}, {profile.cpu}", loc="left", fontsize=9)
    axes.legend(handles=[Patch(color=COLOURS.get(n, "#56B4E9"), label=n) for n in sorted(seen | {OUTSIDE})], loc="best")
    return figure
