"""What each tool calls the arrays of a layer, and how its arrays become ours.

Ours are Paddle's: convolutions [outputs, inputs / groups, H, W], linear layers [inputs, outputs], channels first.

=========== ============================== ================ ===========================================
layout      convolution                    linear           BatchNorm
=========== ============================== ================ ===========================================
paddle      the same                       the same         weight, bias, _mean, _variance
torch       the same                       [outputs, inputs] weight, bias, running_mean, running_var
paddle1     the same                       the same         _scale, _offset, _mean, _variance
keras       [H, W, inputs, outputs],       the same, but    gamma, beta, moving_mean, moving_variance
            depthwise [H, W, channels, 1]  rows in HWC
=========== ============================== ================ ===========================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qat8.models.weights.architecture import Layer
from qat8.older_python import pairwise

OURS = ("weight", "bias", "_mean", "_variance")


@dataclass(frozen=True)
class Layout:
    """`weight`, `bias`: the names that a layer's array may have; `norm`: those of BatchNorm's four, as `OURS`;
    `epsilon`: of the tool's models; `origin`: which variant of a model its weights are made for, "" the row itself."""

    name: str
    weight: Callable[[Layer], list[str]]
    bias: Callable[[Layer], list[str]]
    norm: Callable[[Layer], list[str]]
    convert: Callable[[Layer, np.ndarray], np.ndarray]
    epsilon: dict[str, float]
    origin: str


# What BatchNorm adds to the variance, where it is not 1e-5; ours is the builders'.
OUR_EPSILON = {"MobileNetV1": 1e-3}
_KERAS_EPSILON = {"MobileNetV1": 1e-3, "MobileNetV2": 1e-3}


def _torch_array(layer: Layer, array: np.ndarray) -> np.ndarray:
    return array.T if layer.kind == "linear" and array.ndim == 2 else array


def _keras_array(layer: Layer, array: np.ndarray) -> np.ndarray:
    if layer.kind == "depthwise":
        return array.transpose(2, 3, 0, 1)
    if layer.kind == "conv":
        return array.transpose(3, 2, 0, 1)
    if array.ndim == 4:  # a 1 x 1 convolution that stands for the linear layer
        return array[0, 0]
    if layer.keras[0] == "fc1":  # behind Flatten, which in Keras runs over height, width, channels
        side = round((array.shape[0] / 512) ** 0.5)
        return array.reshape(side, side, 512, -1).transpose(2, 0, 1, 3).reshape(array.shape)
    return array


def _keras_names(layer: Layer, *kinds: str) -> list[str]:
    return [f"{layer.keras[0]}/{kind}" for kind in kinds] if layer.keras[0] else []


LAYOUTS = (
    Layout(
        "paddle", lambda n: [f"{n.state}.weight"], lambda n: [f"{n.state}.bias"],
        lambda n: [f"{n.norm}.{k}" for k in OURS], lambda _, a: a, OUR_EPSILON, "",
    ),
    Layout(
        "torch", lambda n: [f"{n.state}.weight"], lambda n: [f"{n.state}.bias"],
        lambda n: [f"{n.norm}.{k}" for k in ("weight", "bias", "running_mean", "running_var")], _torch_array, {},
        "paddle",
    ),
    Layout(
        "paddle1", lambda n: [f"{n.paddle1[0]}_weights", f"{n.paddle1[0]}.w_0"],
        lambda n: [f"{n.paddle1[0]}_offset", f"{n.paddle1[0]}.b_0"],
        lambda n: [f"{n.paddle1[1]}_{k}" for k in ("scale", "offset", "mean", "variance")], lambda _, a: a, {},
        "paddle",
    ),
    Layout(
        "keras", lambda n: _keras_names(n, "kernel", "depthwise_kernel"), lambda n: _keras_names(n, "bias"),
        lambda n: [f"{n.keras[1]}/{k}" for k in ("gamma", "beta", "moving_mean", "moving_variance")], _keras_array,
        _KERAS_EPSILON, "tensorflow",
    ),
)  # fmt: skip


def recognise(layers: list[Layer], tensors: dict[str, np.ndarray]) -> Layout:
    """The layout that names most of the layers' arrays.

    Without BatchNorm (VGG) Paddle's and PyTorch's names are the same; then the linear layers' shapes decide, because
    one layer's outputs are the next one's inputs.
    """

    def score(layout: Layout) -> int:
        return sum(
            any(n in tensors for n in layout.weight(layer)) + (bool(layer.norm) and layout.norm(layer)[2] in tensors)
            for layer in layers
        )

    ours, torch, *_ = LAYOUTS
    best = max(LAYOUTS, key=score)
    return torch if best is ours and score(torch) == score(ours) and _outputs_first(layers, tensors) else best


def _outputs_first(layers: list[Layer], tensors: dict[str, np.ndarray]) -> bool:
    names = [f"{layer.state}.weight" for layer in layers if layer.kind == "linear"]
    found = [tensors[name].shape for name in names if name in tensors and tensors[name].ndim == 2]
    pairs = list(pairwise(found))
    return bool(pairs) and all(a[0] == b[1] for a, b in pairs) and not all(a[1] == b[0] for a, b in pairs)
