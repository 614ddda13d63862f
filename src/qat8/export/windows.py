"""Sliding windows of convolution and pooling: what Paddle's attributes mean, and the size that comes out."""

from __future__ import annotations

from dataclasses import dataclass

from qat8.export.values import number, refuse
from qat8.older_python import zip_strict


@dataclass(frozen=True)
class Window:
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    dilations: tuple[int, int] = (1, 1)


def _pair(op, name: str) -> tuple[int, int]:
    values = [int(v) for v in number(op, name, [1, 1])]
    return (values[0], values[-1]) if len(values) in (1, 2) else refuse(op, f"{name} {values}")


def window(op, kernel: tuple[int, int], shape: tuple[int, int, int]) -> Window:
    """The window of `op` over an input of `shape` (channels, height, width)."""
    if number(op, "data_format", "NCHW") not in ("NCHW", "AnyLayout"):
        refuse(op, f"data format {op.attr('data_format')}")
    strides, dilations = _pair(op, "strides"), _pair(op, "dilations")
    algorithm = number(op, "padding_algorithm", "EXPLICIT")
    if algorithm == "SAME":
        return Window(kernel, strides, _same(kernel, strides, shape[1:]))  # Paddle ignores the dilations then
    if algorithm == "VALID":
        return Window(kernel, strides, (0, 0, 0, 0), dilations)
    values = [int(v) for v in op.attr("paddings")]
    if len(values) == 2:
        values = [values[0], values[0], values[1], values[1]]
    if len(values) != 4:
        refuse(op, f"paddings {values}")
    top, bottom, left, right = values
    return Window(kernel, strides, (top, left, bottom, right), dilations)


def _same(kernel, strides, sides) -> tuple[int, int, int, int]:
    """TensorFlow's: an output of ceil(side / stride); the odd pixel goes behind."""
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip_strict(sides, strides, kernel)]
    first = [t // 2 for t in total]
    return first[0], first[1], total[0] - first[0], total[1] - first[1]


def pooling_window(op, shape: tuple[int, int, int]) -> Window:
    if op.attr("global_pooling"):
        return Window(shape[1:], shape[1:])
    if op.attr("adaptive"):
        sides = _pair(op, "ksize")
        if any(n % k for n, k in zip_strict(shape[1:], sides)):
            refuse(op, f"adaptive pooling of {shape[1]} x {shape[2]} to {sides[0]} x {sides[1]}")
        kernel = tuple(n // k for n, k in zip_strict(shape[1:], sides))
        return Window(kernel, kernel)
    found = window(op, _pair(op, "ksize"), shape)
    if op.attr("ceil_mode"):
        if op.attr("pooling_type") == "avg" and not op.attr("exclusive"):
            refuse(op, "ceil_mode with padding that counts")
        found = _ceiled(found, shape)
    return found


def _ceiled(found: Window, shape: tuple[int, int, int]) -> Window:
    """Rounding the size up is more padding behind."""
    padding = list(found.padding)
    for i in (0, 1):
        over = shape[1 + i] + padding[i] + padding[i + 2] - found.kernel[i]
        padding[i + 2] += -over % found.strides[i]
    return Window(found.kernel, found.strides, tuple(padding), found.dilations)


def pooled(shape: tuple[int, int, int], w: Window) -> tuple[int, int]:
    """Height and width behind a window, rounded down."""
    return tuple(
        (shape[1 + i] + w.padding[i] + w.padding[i + 2] - w.dilations[i] * (w.kernel[i] - 1) - 1) // w.strides[i] + 1
        for i in (0, 1)
    )
