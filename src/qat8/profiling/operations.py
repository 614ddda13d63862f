"""How much arithmetic a primitive is, counted from its problem: a multiplication and an addition are two operations.

Padding counts as if it were computed, as is usual; fused activations and additions do not count.
"""

from __future__ import annotations

import math
import re

from qat8.profiling.log import Primitive


def operations(primitive: Primitive) -> int | None:
    """Operations of a convolution, an inner product or a matrix product; None of any other kind."""
    if primitive.kind in ("convolution", "inner_product"):
        return _convolution(primitive.problem)
    return _product(primitive.problem) if primitive.kind == "matmul" else None


def sizes(problem: str) -> dict[str, int]:
    """`g32mb2_ic32oc64_ih112oh112kh3...` -> {"g": 32, "mb": 2, "ic": 32, ...}."""
    return {name: int(value) for name, value in re.findall(r"([a-z]+)(\d+)", problem)}


def _convolution(problem: str) -> int | None:
    size = sizes(problem)
    if not {"mb", "ic", "oc"} <= size.keys():
        return None
    spatial = ("od", "oh", "ow", "kd", "kh", "kw") if "kw" in size else ("id", "ih", "iw")  # the latter: inner product
    extent = math.prod(size.get(name, 1) for name in spatial)
    return 2 * size["mb"] * size["oc"] * extent * size["ic"] // size.get("g", 1)


def _product(problem: str) -> int | None:
    shapes = [[int(n) for n in part.split("x")] for part in problem.split(":") if re.fullmatch(r"\d+(x\d+)+", part)]
    if len(shapes) < 2 or shapes[0][-1] != shapes[1][-2]:
        return None
    batch = math.prod(max(a, b) for a, b in zip(shapes[0][:-2], shapes[1][:-2]))
    return 2 * batch * shapes[0][-2] * shapes[0][-1] * shapes[1][-1]
