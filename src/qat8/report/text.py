"""Numbers to text, in one place: rounding, signs, units, names.

Rounding is the one taught at school (a half goes away from zero, on the decimal number that is written), because
Python's own `format` rounds a half to even on the binary number: 81.25 would become 81.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

NOT_MEASURED = "not measured"
TESTERS = {"cpp": "C++", "python": "Python"} | {
    "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "torch": "PyTorch",
}  # fmt: skip


def fixed(value: float, decimals: int) -> str:
    rounded = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    return str(abs(rounded) if rounded.is_zero() else rounded)


def signed(value: float, decimals: int) -> str:
    text = fixed(value, decimals)
    return text if text.startswith("-") or not text.strip("0.") else f"+{text}"


def _scaled(fraction: float) -> float:
    # Through decimals: 0.285 * 100 is 28.499999999999996 in binary.
    return float(Decimal(repr(float(fraction))) * 100)


def percent_decimals(images: int) -> int:
    """One decimal while a single image is more than 0.1 %; two, as in the tutorial, beyond."""
    return 1 if images <= 1000 else 2


def percent(fraction: float | None, images: int) -> str:
    return NOT_MEASURED if fraction is None else f"{fixed(_scaled(fraction), percent_decimals(images))} %"


def points(fraction: float | None, images: int) -> str:
    """A difference of two shares, in percentage points, with its sign."""
    return NOT_MEASURED if fraction is None else signed(_scaled(fraction), percent_decimals(images))


def interval(ends: tuple[float, float] | None, images: int) -> str:
    """`58.4 to 91.9 %`"""
    if ends is None:
        return NOT_MEASURED
    return f"{fixed(_scaled(ends[0]), percent_decimals(images))} to {percent(ends[1], images)}"


def width(ends: tuple[float, float]) -> str:
    """An interval's width in percentage points."""
    return fixed(_scaled(ends[1] - ends[0]), 1)


def speed(images_per_second: float | None) -> str:
    if images_per_second is None:
        return NOT_MEASURED
    return fixed(images_per_second, 1 if images_per_second >= 100 else 2)


def ratio(value: float | None) -> str:
    return NOT_MEASURED if value is None else fixed(value, 2)


def ratio_in_words(value: float) -> str:
    """One decimal is what a ratio of two or three deserves; near one the second decimal is the news."""
    return fixed(value, 1 if value >= 2 else 2)


def milliseconds(value: float) -> str:
    return fixed(value, 1 if value >= 100 else 2)


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def gibibytes(size: int) -> str:
    return f"{fixed(size / 2**30, 1)} GiB"


def tester(name: str) -> str:
    return TESTERS.get(name, name)


def listed(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`"""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def scalar(value: object) -> str:
    """A value of a free-form dictionary, such as `environment.cpu`, for a table's cell."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "unknown"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {scalar(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(scalar(item) for item in value)
    return str(value)
