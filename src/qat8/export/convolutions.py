"""Convolutions and linear layers, FP32 and INT8, with weights as the engine's file has them.

INT8 as Paddle 2.6.2's oneDNN kernels do it: filters float32 in the program, multiplied by `Scale_weights` and rounded
when the kernel first runs. Here that is done once, and what is saved is int8.
"""

from __future__ import annotations

import numpy as np

from qat8.export.file import NONE, Operator, Tensor
from qat8.export.values import Values, activation, inputs, inverse, inverses, is_int8, number, refuse
from qat8.export.windows import pooled, window

_UNSIGNED = ("relu", "clip")


def quantized(weights: np.ndarray, scales: list[float]) -> np.ndarray:
    """round(weights x scales), to nearest even, in float32; `scales` are one or one of each output [O, ...]."""
    by_output = np.asarray(scales, np.float32).reshape(-1, *[1] * (weights.ndim - 1))
    return np.clip(np.rint(weights * by_output), -128, 127).astype(np.int8)


def convolution(op, parameters: Values, source: int, tensor: Tensor, second: tuple[int, Tensor] | None):
    """The operator, its output's dtype and shape."""
    weights = parameters(op, op.input("Filter"))
    outputs, per_group, *kernel = weights.shape
    groups = number(op, "groups", 1)
    if per_group * groups != tensor.shape[0] or outputs % groups:
        refuse(op, f"a filter of {list(weights.shape)} in {groups} groups on {tensor.shape[0]} channels")
    w = window(op, tuple(kernel), tensor.shape)
    shape = (outputs, *pooled(tensor.shape, w))
    if second and second[1].shape != shape:
        refuse(op, f"a residual of shape {second[1].shape} added to {shape}")
    word, alpha, beta = activation(op)
    bias = parameters(op, inputs(op, "Bias"))
    operator = Operator(
        "convolution", source, 0, second=second[0] if second else NONE, kernel=w.kernel, strides=w.strides,
        padding=w.padding, dilations=w.dilations, groups=groups, activation=word, alpha=alpha, beta=beta,
        weights=weights, bias=None if bias is None else bias.reshape(-1),
    )  # fmt: skip
    dtype = "float32"
    if is_int8(op):
        dtype = _quantize(op, operator, second)
    elif tensor.dtype != "float32":
        refuse(op, f"an FP32 convolution of {tensor.dtype}")
    return operator, dtype, shape


def _quantize(op, operator: Operator, second: tuple[int, Tensor] | None) -> str:
    """Make the weights int8 and set the scales; the output's dtype."""
    scales = list(number(op, "Scale_weights", [1.0]))
    operator.weights, operator.weight_scales = quantized(operator.weights, scales), inverses(op, scales)
    fp32 = number(op, "force_fp32_output", False)
    operator.scales = (
        inverse(op, "Scale_in"), inverse(op, "Scale_in_eltwise") if second else 1.0,
        1.0 if fp32 else inverse(op, "Scale_out"),
    )  # fmt: skip
    if fp32:
        return "float32"
    dtype = "uint8" if operator.activation in _UNSIGNED else "int8"
    if second and second[1].dtype != dtype:
        # Paddle's kernel computes in the residual's type, and reads what came out as the activation's.
        operator.writes = second[1].dtype
    return dtype


def linear(op, parameters: Values, source: int, tensor: Tensor):
    """The operator, its output's dtype and the number of outputs."""
    weights = parameters(op, op.input("W"))
    if weights.ndim != 2 or weights.shape[0] != np.prod(tensor.shape):
        refuse(op, f"weights of {list(weights.shape)} on {list(tensor.shape)}")
    if number(op, "in_num_col_dims", 1) != 1 or number(op, "padding_weights", False):
        refuse(op, "in_num_col_dims other than 1, or padded weights")
    word, alpha, beta = activation(op)
    bias = parameters(op, inputs(op, "Bias"))
    operator = Operator(
        "linear", source, 0, activation=word, alpha=alpha, beta=beta,
        weights=np.ascontiguousarray(weights.T).reshape(-1, *tensor.shape),
        bias=None if bias is None else bias.reshape(-1),
    )  # fmt: skip
    if not is_int8(op):
        if tensor.dtype != "float32":
            refuse(op, f"an FP32 linear layer of {tensor.dtype}")
        return operator, "float32", weights.shape[1]
    return operator, _quantize(op, operator, None), weights.shape[1]
