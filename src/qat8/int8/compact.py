"""Weights as int8 in the file: a quarter of the size, and the outputs are the same to the bit.

Quantization-aware training leaves every weight on a grid of 255 levels per output channel, so q = round(w / step) loses
nothing. The file holds q as int8 and step as float32; two operators in front, cast and elementwise_mul, make w of
them again. Paddle's predictor computes them once while it loads (its constant_folding_pass, which stands in the list of
passes of every CPU predictor), so a run never sees them: the convolution finds the same float32 filter as before,
and oneDNN quantizes it once, as before.

Paddle's own way, params_quantization_mkldnn_pass, hands the int8 filter to the kernel instead, which in 2.6.2
computes wrong outputs from it (docs/int8.md).
"""

from __future__ import annotations

import numpy as np

from qat8.engine import paddle
from qat8.older_python import zip_strict

LEVELS = 127
# The operators whose weights oneDNN quantizes: slot of the weight, and the axis of its output channels.
_WEIGHTS = {"fused_conv2d": ("Filter", 0), "conv2d": ("Filter", 0), "depthwise_conv2d": ("Filter", 0), "fc": ("W", 1)}
_MAX_ERROR = 1e-3  # of a step: more is not the grid of a trained model


def compact(program, scope) -> int:
    """Store the weights of INT8 operators as int8, in place; returns how many tensors became a quarter of their size.

    A weight that does not lie on its grid (a model that was not trained quantization-aware) stays float32.
    """
    count = 0
    for op in list(program.global_block().ops):
        slot, axis = _WEIGHTS.get(op.type, ("", 0))
        if slot and is_int8(op):
            count += _compact_weight(program, scope, op, op.input(slot)[0], axis)
    program.global_block()._sync_with_cpp()
    return count


def is_int8(op) -> bool:
    return op.has_attr("mkldnn_data_type") and op.attr("mkldnn_data_type") == "int8"


def unpacks(op) -> bool:
    """Whether `op` only makes float32 of a weight in the file, and is gone once the model is loaded."""
    return any(name.endswith(("@int8", "@levels")) for name in op.input_arg_names)


def on_grid(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray] | None:
    """float32 weight -> (int8 levels of its shape, float32 steps that broadcast to it); None: not on a grid."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    step = np.abs(weight).max(axis=others, keepdims=True).astype(np.float64) / LEVELS
    levels = weight / np.where(step == 0, 1, step)
    rounded = np.rint(levels)
    if np.abs(levels - rounded).max() > _MAX_ERROR:
        return None
    return rounded.astype(np.int8), step.astype(np.float32)


def _compact_weight(program, scope, op, name: str, axis: int) -> bool:
    block = program.global_block()
    if not block.var(name).persistable:  # done already
        return False
    found = on_grid(np.array(scope.find_var(name).get_tensor()), axis)
    if found is None:
        return False
    for suffix, values in zip_strict(("int8", "step"), found):
        new = block.create_var(name=f"{name}@{suffix}", shape=values.shape, dtype=str(values.dtype), persistable=True)
        scope.var(new.name).get_tensor().set(values, paddle.CPUPlace())
    for suffix in ("levels", "float32"):
        block.create_var(name=f"{name}@{suffix}", shape=found[0].shape, dtype="float32")
    op._rename_input(name, f"{name}@float32")
    types = paddle.base.core.VarDesc.VarType
    start = sum(op.type == "feed" for op in block.ops)
    block._insert_op(
        start, type="elementwise_mul", inputs={"X": [f"{name}@levels"], "Y": [f"{name}@step"]},
        outputs={"Out": [f"{name}@float32"]}, attrs={"axis": -1},
    )  # fmt: skip
    block._insert_op(
        start, type="cast", inputs={"X": [f"{name}@int8"]}, outputs={"Out": [f"{name}@levels"]},
        attrs={"in_dtype": types.INT8, "out_dtype": types.FP32},
    )  # fmt: skip
    return True
