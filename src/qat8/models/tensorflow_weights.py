"""Reads the weights of a TensorFlow MobileNet-V1 GraphDef into the layers of `mobilenet_v1.MobileNetV1`.

The protobuf messages are tensorboardX's copies of TensorFlow's; TensorFlow itself is not needed. BatchNorm must be
unfolded. Layouts: convolution HWIO -> OIHW; depthwise [3, 3, C, 1] -> [C, 1, 3, 3]; the logits' 1 x 1 convolution
[1, 1, 1024, 1001] -> [1024, 1000], without class 0, which is TensorFlow's background.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from tensorboardX.proto.graph_pb2 import GraphDef
from tensorboardX.proto.types_pb2 import DT_FLOAT

from qat8.errors import ModelError

SCOPE = "MobilenetV1"
BLOCK_COUNT = 13


def read_constants(path: Path) -> dict[str, np.ndarray]:
    """All float32 constants of a frozen GraphDef, by node name."""
    graph = GraphDef()
    try:
        graph.ParseFromString(Path(path).read_bytes())
    except DecodeError as e:
        raise ModelError(f"{path}: not a TensorFlow GraphDef ({e})") from e
    constants = {}
    for node in graph.node:
        tensor = node.attr["value"].tensor
        if node.op == "Const" and tensor.dtype == DT_FLOAT:
            shape = [d.size for d in tensor.tensor_shape.dim]
            values = np.frombuffer(tensor.tensor_content, "<f4") if tensor.tensor_content else tensor.float_val
            constants[node.name] = np.array(values, np.float32).reshape(shape)
    return constants


def _layer_names() -> list[str]:
    names = ["Conv2d_0"]
    for block in range(1, BLOCK_COUNT + 1):
        names += [f"Conv2d_{block}_depthwise", f"Conv2d_{block}_pointwise"]
    return names


def mobilenet_v1_state(path: Path) -> dict[str, np.ndarray]:
    """The state dict of `MobileNetV1(1000)` from the frozen graph at `path`.

    Raises:
        ModelError: a constant is missing; it is named.
    """
    constants = read_constants(path)

    def constant(name: str) -> np.ndarray:
        try:
            return constants[f"{SCOPE}/{name}"]
        except KeyError:
            raise ModelError(f"{path}: no constant {SCOPE}/{name}", "a MobileNet-V1 with unfolded BatchNorm") from None

    state = {}
    for i, name in enumerate(_layer_names()):
        depthwise = name.endswith("depthwise")
        weights = constant(f"{name}/depthwise_weights" if depthwise else f"{name}/weights")
        state[f"features.{i}.0.weight"] = weights.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        norm = {"weight": "gamma", "bias": "beta", "_mean": "moving_mean", "_variance": "moving_variance"}
        for ours, theirs in norm.items():
            state[f"features.{i}.1.{ours}"] = constant(f"{name}/BatchNorm/{theirs}")
    state["fc.weight"] = constant("Logits/Conv2d_1c_1x1/weights")[0, 0, :, 1:]
    state["fc.bias"] = constant("Logits/Conv2d_1c_1x1/biases")[1:]
    return {name: np.ascontiguousarray(value) for name, value in state.items()}
