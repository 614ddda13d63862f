"""Gives the layers that stay in FP32 the FP32 model's own weights back.

A QAT model's weights lie on INT8's grid, and its BatchNorms make up for that. A layer that is left in FP32 need not
pay for it: its weights, bias and BatchNorm are those of the FP32 model, which has them under the same names.
"""

from __future__ import annotations

import numpy as np

from qat8.engine import paddle
from qat8.int8.selection import Wanted, layer_name
from qat8.older_python import zip_strict

WITH_WEIGHTS = ("conv2d", "depthwise_conv2d", "fused_conv2d", "mul", "matmul", "matmul_v2")
_BEHIND = ("fake_channel_wise_dequantize_max_abs", "fake_dequantize_max_abs", "batch_norm", "elementwise_add")
_NORM = ("Scale", "Bias", "Mean", "Variance")


def put_back(program, scope, reference, wanted: Wanted) -> list[str]:
    """Set the parameters of every layer that is not `wanted` in INT8 to those in the scope `reference`, in place.

    Returns the layers whose parameters the reference does not have, or has in another shape: they keep what they have.
    """
    readers: dict[str, list] = {}
    for op in program.global_block().ops:
        for name in op.input_arg_names:
            readers.setdefault(name, []).append(op)
    unknown = []
    for op in program.global_block().ops:
        if op.type not in WITH_WEIGHTS or not any(".w_" in name for name in op.input_arg_names):
            continue
        layer = layer_name(op.input_arg_names, op.output_arg_names)
        if not wanted(layer) and not _copy(_parameters(program, op, readers), scope, reference):
            unknown.append(layer)
    return unknown


def _parameters(program, op, readers: dict[str, list]) -> list[str]:
    """The layer's weights, and those of the bias and the BatchNorm behind it."""
    names = [name for name in op.input_arg_names if ".w_" in name]
    following = readers.get(op.output_arg_names[0], [])
    while len(following) == 1 and following[0].type in _BEHIND:
        behind = following[0]
        if behind.type == "batch_norm":
            names += [behind.input(slot)[0] for slot in _NORM]
        elif behind.type == "elementwise_add":
            bias = behind.input("Y")[0]
            if not program.global_block().var(bias).persistable:
                break  # a residual connection
            names.append(bias)
        following = readers.get((behind.output("Y") if behind.type == "batch_norm" else behind.output("Out"))[0], [])
    return names


def _copy(names: list[str], scope, reference) -> bool:
    sources = [reference.find_var(name) for name in names]
    if None in sources:
        return False
    arrays = [np.array(source.get_tensor()) for source in sources]
    tensors = [scope.find_var(name).get_tensor() for name in names]
    if any(list(tensor.shape()) != list(array.shape) for tensor, array in zip_strict(tensors, arrays)):
        return False
    for tensor, array in zip_strict(tensors, arrays):
        tensor.set(array, paddle.CPUPlace())
    return True
