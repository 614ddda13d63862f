"""ONNX files, by the onnx package: initializers, and for those without telling names, the layers in the graph's order.

Exporters fold BatchNorm into the convolution before it and give the folded filters names of their own
("onnx::Conv_497"). So each convolution and linear layer is taken from its node: weights, bias, the BatchNorm behind it
if it is still there, the strides and pads, and the node's name, from which PyTorch's exporter lets the module be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from qat8.older_python import zip_strict

_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass
class Node:
    """One layer of the graph. `kind` is conv or linear; a linear layer's weight is [inputs, outputs]."""

    kind: str
    module: str  # "layer1.0.conv1", "" when the exporter did not say
    weight_name: str
    weight: np.ndarray
    bias: np.ndarray | None = None
    norm: dict[str, np.ndarray] | None = None
    epsilon: float = 1e-5
    attributes: dict = field(default_factory=dict)


def read(path: Path) -> tuple[list[Node], dict[str, np.ndarray]]:
    """(the layers in the graph's order, all initializers by name)."""
    model = onnx.load(str(path))
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            (value,) = [a.t for a in node.attribute if a.name == "value"] or [None]
            if value is not None:
                constants[node.output[0]] = numpy_helper.to_array(value)
    found, by_output = [], {}
    for node in model.graph.node:
        layer = _layer(node, constants)
        if layer:
            found.append(layer)
            by_output[node.output[0]] = layer
        elif node.op_type == "Add":
            _bias(node, constants, by_output)
        elif node.op_type == "BatchNormalization" and node.input[0] in by_output:
            layer = by_output[node.input[0]]
            layer.norm = {k: constants[n] for k, n in zip_strict(_NORM, node.input[1:5])}
            layer.epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    return found, constants


def _layer(node, constants: dict[str, np.ndarray]) -> Node | None:
    if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2 or node.input[1] not in constants:
        return None
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    weight = constants[node.input[1]]
    if node.op_type == "Gemm" and attributes.get("transB"):
        weight = weight.T
    bias = constants.get(node.input[2]) if len(node.input) > 2 else None
    kind = "conv" if node.op_type == "Conv" else "linear"
    return Node(kind, module_of(node.name), node.input[1], weight, bias, attributes=attributes)


def _bias(node, constants, by_output: dict[str, Node]) -> None:
    """The Add behind a MatMul is its bias; what it gives is the layer's output."""
    for source, other in (node.input, reversed(node.input)):
        layer = by_output.get(source)
        if layer and layer.bias is None and layer.kind == "linear" and other in constants:
            layer.bias = constants[other].reshape(-1)
            by_output[node.output[0]] = layer
            return


def module_of(node_name: str) -> str:
    """`/layer1/layer1.0/downsample/downsample.0/Conv` -> layer1.0.downsample.0; "" for a name of another kind."""
    parts = [part for part in node_name.split("/")[1:-1] if part]
    if not node_name.startswith("/") or not parts:
        return ""
    path: list[str] = []
    for part in parts:  # a part may repeat the end of its parent's path: layer1, layer1.0, downsample, downsample.0
        words = part.split(".")
        repeated = next((k for k in range(len(words), 0, -1) if path[-k:] == words[:k]), 0)
        path += words[repeated:]
    return ".".join(path) if all(re.fullmatch(r"\w+", word) for word in path) else ""
