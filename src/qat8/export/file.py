"""The engine's file `NAME.qat8`: a classifier as a flat list of operators, with int8 weights where they are INT8.

Everything is little endian. Offsets of arrays count from `data offset` and are multiples of 64::

    offset  type      field
         0  8 bytes   magic "QAT8PLAN"
         8  uint32    version = 1
        12  uint32    precision: 1 = fp32, 2 = int8
        16  uint64    size of the whole file in bytes
        24  uint32    T, number of tensors (1 to 65,536)
        28  uint32    P, number of operators (1 to 65,536)
        32  uint64    data offset, a multiple of 64
        40  uint32    CRC-32 of the bytes 64 to the end
        44  16 bytes  zero
        60  uint32    CRC-32 of the bytes 0..59
        64  T x 16    tensors
       ...  P x 128   operators
       ...  zeros up to the data offset, then the arrays

A tensor is what flows between operators; the batch is left out of its shape, and in memory it is NHWC::

         0  uint32    dtype: 1 = float32, 2 = uint8, 3 = int8
         4  3xuint32  channels, height, width (1 x 1 behind a linear layer)

Tensor 0 is the input, float32 NCHW as the data file has it. The last operator's destination is the output, float32
with the classes as channels. Each other tensor is written once, by an operator before those that read it. A number q in
a uint8 or int8 tensor stands for the real value q x scale, with the scale that its operator names::

         0  uint32    kind: 1 quantize, 2 dequantize, 3 convolution, 4 max pooling, 5 average pooling (padding is not
                      counted), 6 linear layer, 7 addition, 8 average pooling (padding counts as zeros),
                      9 softmax over the classes
         4  uint32    source tensor
         8  uint32    second source: what a convolution adds before its activation, or the addition's second summand;
                      4294967295 = none
        12  uint32    destination tensor
        16  2xuint32  kernel height, width
        24  2xuint32  strides
        32  4xuint32  padding: top, left, bottom, right
        48  2xuint32  dilations (1: none)
        56  uint32    groups
        60  uint32    activation: 0 none, 1 ReLU (max(x, alpha x)), 2 clip to [alpha, beta]
        64  2xfloat32 alpha, beta; of quantize, alpha is the factor: Paddle's scale, which 1 / scale need not give back
        72  3xfloat32 scales of source, second source and destination (1 for float32)
        84  uint32    dtype that the operator writes, see below; 0: the destination's
        88  uint64    weights, at a 64-byte boundary; for convolutions [O, I / groups, kh, kw], for linear layers
                      [O, C, H, W] of the source's C, H, W
        96  uint64    bias, float32 [O]; 2^64 - 1 = none
       104  uint64    float32 weight scales, [O] or [1]; 2^64 - 1 = none (float32 weights)
       112  uint32    dtype of the weights: 0 no weights, 1 = float32, 3 = int8
       116  uint32    number of weight scales: 0, 1 or O
       120  8 bytes   zero

An INT8 convolution is::

    d = saturate(round(act(s_src * s_w[o] * sum(src * w) + bias[o] + s_second * second) / s_dst))

with products and sums exact in int32 and the rest in float32, rounded to nearest even: oneDNN's convolution with scales
and post-operations "sum" and "eltwise". Where Paddle writes int8 into what it then reads as uint8 (a convolution with
an int8 summand and ReLU), the field at 84 says so, because the value saturates at 127 there and not at 255.

CRC-32 is zlib's. The file is written once by `inv export`; `tester/engine/plan_file.cc` reads it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qat8 import artifacts

MAGIC, VERSION = b"QAT8PLAN", 1
HEADER = struct.Struct("<8sIIQIIQI16s")
TENSOR = struct.Struct("<4I")
OPERATOR = struct.Struct("<IIII2I2I4I2III2f3fI3QII8x")
NONE, NO_ARRAY = 2**32 - 1, 2**64 - 1
ALIGNMENT = 64
PRECISIONS = {"fp32": 1, "int8": 2}
DTYPES = {"float32": 1, "uint8": 2, "int8": 3}
KINDS = {"quantize": 1, "dequantize": 2, "convolution": 3, "max_pooling": 4, "average_pooling": 5, "linear": 6,
         "addition": 7, "average_pooling_with_padding": 8,
         "softmax": 9}  # fmt: skip
ACTIVATIONS = {"": 0, "relu": 1, "clip": 2}


@dataclass(frozen=True)
class Tensor:
    """`shape` is channels, height, width."""

    dtype: str
    shape: tuple[int, int, int]


@dataclass
class Operator:
    """Tensors by index; see the format above for what each field means."""

    kind: str
    source: int
    destination: int
    second: int = NONE
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    activation: str = ""
    alpha: float = 0.0
    beta: float = 0.0
    scales: tuple[float, float, float] = (1.0, 1.0, 1.0)
    writes: str = ""  # dtype, where it is not the destination's
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None
    weight_scales: np.ndarray | None = None


@dataclass
class Plan:
    precision: str
    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)


class _Arrays:
    """The data section: arrays behind one another, each at a boundary."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, array: np.ndarray | None) -> int:
        if array is None:
            return NO_ARRAY
        self.data += bytes(-len(self.data) % ALIGNMENT)
        offset = len(self.data)
        self.data += np.ascontiguousarray(array).tobytes()
        return offset


def encode(plan: Plan) -> bytes:
    """The whole file."""
    arrays = _Arrays()
    body = b"".join(TENSOR.pack(DTYPES[t.dtype], *t.shape) for t in plan.tensors)
    body += b"".join(_encode_operator(op, arrays) for op in plan.operators)
    start = 64 + len(body)
    padding = -start % ALIGNMENT
    body += bytes(padding) + bytes(arrays.data)
    header = HEADER.pack(
        MAGIC, VERSION, PRECISIONS[plan.precision], 64 + len(body), len(plan.tensors), len(plan.operators),
        start + padding, zlib.crc32(body), bytes(16),
    )  # fmt: skip
    return header + struct.pack("<I", zlib.crc32(header)) + body


def _encode_operator(op: Operator, arrays: _Arrays) -> bytes:
    weights, bias, scales = arrays.add(op.weights), arrays.add(op.bias), arrays.add(op.weight_scales)
    return OPERATOR.pack(
        KINDS[op.kind], op.source, op.second, op.destination, *op.kernel, *op.strides, *op.padding, *op.dilations,
        op.groups, ACTIVATIONS[op.activation], op.alpha, op.beta, *op.scales, DTYPES.get(op.writes, 0),
        weights, bias, scales, 0 if op.weights is None else DTYPES[str(op.weights.dtype)],
        0 if op.weight_scales is None else len(op.weight_scales),
    )  # fmt: skip


def write(path: Path, plan: Plan) -> int:
    """Write the file whole or not at all; its size in bytes."""
    content = encode(plan)
    with artifacts.atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return len(content)
