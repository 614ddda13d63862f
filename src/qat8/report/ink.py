"""Colours and widths that all plots share."""

INK = "#1b1b1b"  # the page replaces it by its text colour
COLOURS = {"fp32": "#E69F00", "int8": "#0072B2"}
WIDE, NARROW = 9.5, 4.3  # inches; narrow fits a phone without shrinking the letters
