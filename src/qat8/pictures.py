"""Plots as files: the same figures give the same bytes, and text stays text in SVG."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "qat8", "font.size": 8, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False,
}  # fmt: skip
BARS_STYLE = {**STYLE, "axes.spines.left": False, "ytick.left": False}


def png_and_svg(figure: Figure, name: str) -> dict[str, bytes]:
    """NAME.png and NAME.svg of a figure, by name. To be called in the `rc_context` that it was drawn in."""
    made = {}
    for kind, options in (("png", {"dpi": 150, "metadata": {"Software": None}}), ("svg", {"metadata": {"Date": None}})):
        out = io.BytesIO()
        figure.savefig(out, format=kind, facecolor="white", **options)
        made[f"{name}.{kind}"] = out.getvalue()
    return made
