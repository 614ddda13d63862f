"""ONNX -> torch.nn, for the operators that image classifiers of the registry consist of.

onnx2torch would do it, but it needs torchvision, of which there is no build that fits the CPU build of torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from qat8.errors import ModelError


class Network(nn.Module):
    """float32 [N, 3, H, W] -> float32 [N, classes], by the nodes of an ONNX graph in their order.

    Raises:
        ModelError: an operator, or a form of it, that is not translated.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        graph = onnx.load(str(path)).graph
        self._constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        self._layers, self._steps = nn.ModuleList(), []  # a step: module or None (addition), inputs, output
        for node in graph.node:
            if node.op_type == "Constant":
                self._constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            else:
                self._append(node)
        self._input, self._output = graph.input[0].name, graph.output[0].name
        self.image_shape = tuple(d.dim_value for d in graph.input[0].type.tensor_type.shape.dim[1:])
        del self._constants

    def _append(self, node) -> None:
        inputs = [name for name in node.input if name not in self._constants]
        if node.op_type == "Add" and len(inputs) == 1:
            self._add_bias(node, inputs[0])
            return
        module = None
        if node.op_type != "Add":
            build = _BUILDERS.get(node.op_type)
            if build is None or len(inputs) != 1:
                raise ModelError(f"ONNX operator {node.op_type} of {node.output[0]}", f"of {', '.join(_BUILDERS)}")
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            module = build(attributes, [self._constants[name] for name in node.input if name in self._constants])
            self._layers.append(module)
        self._steps.append((module, inputs, node.output[0]))

    def _add_bias(self, node, source: str) -> None:
        """An addition of a constant is the bias of the linear layer before it."""
        module, inputs, output = self._steps[-1]
        if not isinstance(module, nn.Linear) or output != source:
            raise ModelError(f"ONNX Add of {node.output[0]} with a constant", "a linear layer before it")
        module.bias = nn.Parameter(_tensor(self._constants[next(n for n in node.input if n != source)]))
        self._steps[-1] = (module, inputs, node.output[0])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        values = {self._input: image}
        for module, inputs, output in self._steps:
            read = [values[name] for name in inputs]
            values[output] = read[0] + read[1] if module is None else module(*read)
        return values[self._output]


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.copy())


def _convolution(attributes: dict, constants: list[np.ndarray]) -> nn.Module:
    weight, *bias = constants
    groups, strides = attributes.get("group", 1), tuple(attributes.get("strides", (1, 1)))
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    symmetric = (top, left) == (bottom, right)
    if set(attributes.get("dilations", (1, 1))) != {1}:
        raise ModelError(f"ONNX Conv with dilations {list(attributes['dilations'])}", "1")
    conv = nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], weight.shape[2:], strides, (top, left) if symmetric else 0,
        groups=groups, bias=bool(bias),
    )  # fmt: skip
    conv.weight.data = _tensor(weight)
    if bias:
        conv.bias.data = _tensor(bias[0])
    return conv if symmetric else nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), conv)


def _batch_norm(attributes: dict, constants: list[np.ndarray]) -> nn.Module:
    norm = nn.BatchNorm2d(len(constants[0]), eps=attributes["epsilon"])
    norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var = map(_tensor, constants)
    return norm


def _clip(attributes: dict, constants: list[np.ndarray]) -> nn.Module:
    low, high = (float(c) for c in constants)
    return nn.ReLU6() if (low, high) == (0, 6) else nn.Hardtanh(low, high)


def _linear(attributes: dict, constants: list[np.ndarray]) -> nn.Module:
    weight, *bias = constants
    if attributes.get("transB"):
        weight = weight.T
    linear = nn.Linear(*weight.shape, bias=bool(bias))
    linear.weight.data = _tensor(np.ascontiguousarray(weight.T))
    if bias:
        linear.bias.data = _tensor(bias[0])
    return linear


def _pool(kind: type[nn.Module]):
    def build(attributes: dict, constants: list[np.ndarray]) -> nn.Module:
        pads = list(attributes.get("pads", (0, 0, 0, 0)))
        if pads[:2] != pads[2:] or attributes.get("ceil_mode"):
            raise ModelError(f"ONNX pooling with pads {pads}", "the same at both ends, and no ceil_mode")
        kernel, padding = tuple(attributes["kernel_shape"]), tuple(pads[:2])
        strides = tuple(attributes.get("strides", (1, 1)))
        if kind is nn.MaxPool2d:
            return nn.MaxPool2d(kernel, strides, padding)
        return nn.AvgPool2d(kernel, strides, padding, count_include_pad=bool(attributes.get("count_include_pad")))

    return build


_BUILDERS = {
    "Conv": _convolution,
    "BatchNormalization": _batch_norm,
    "Relu": lambda attributes, constants: nn.ReLU(),
    "Clip": _clip,
    "MaxPool": _pool(nn.MaxPool2d),
    "AveragePool": _pool(nn.AvgPool2d),
    "GlobalAveragePool": lambda attributes, constants: nn.AdaptiveAvgPool2d(1),
    "Flatten": lambda attributes, constants: nn.Flatten(attributes.get("axis", 1)),
    "MatMul": _linear,
    "Gemm": _linear,
}
