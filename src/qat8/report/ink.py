"""Colours and widths that all plots share."""

INK = "#1b1b1b"  # the page replaces it by its text colour
COLOURS = {"fp32": "#E69F00", "bf16": "#56B4E9", "int8": "#0072B2"}
BARS = 0.76  # of a row, for all its bars together
WIDE, NARROW = 9.5, 4.3  # inches; narrow fits a phone without shrinking the letters


def offsets(precisions: list[str]) -> dict[str, float]:
    """Of each precision's bar from the middle of its row."""
    step = BARS / len(precisions)
    return {precision: (at - (len(precisions) - 1) / 2) * step for at, precision in enumerate(precisions)}
