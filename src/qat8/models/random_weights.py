"""Weights for models that no trained ones can be had for: good for speed, for nothing else.

Speed and INT8's arithmetic do not ask what a network knows, but they do ask that values keep a sensible range from
layer to layer and that different photographs give different outputs: else every activation range is empty, and
one rounding flips the class. So: He et al. (2015) initialisation, BatchNorm statistics of real photographs, layers
without BatchNorm scaled to unit variance on them (LSUV, Mishkin and Matas 2016), and a last layer fitted to tell these
photographs apart by ridge regression. The result classifies nothing else; no accuracy may be told of it.
"""

from __future__ import annotations

import numpy as np

from qat8.engine import paddle
from qat8.models.registry import Model

RIDGE = 0.05
MARGIN = 10.0  # logit of the right class above the mean of the others


def state(model: Model, images: np.ndarray, labels: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """The state dict of `model`, float32 arrays.

    Args:
        images: float32 [n, 3, H, W], preprocessed for the model; 20 to 100 photographs.
        labels: int64 [n], classes of the last layer.
    """
    paddle.disable_static()
    try:
        paddle.seed(seed)
        layer = model.build(model.classes)
        features = _calibrate(layer, paddle.to_tensor(images))
        _fit_head(layer, features, labels, seed)
        return {name: np.asarray(value.numpy(), np.float32) for name, value in layer.state_dict().items()}
    finally:
        paddle.enable_static()


def _head(layer):
    return [part for part in layer.sublayers() if isinstance(part, paddle.nn.Linear)][-1]


def _calibrate(layer, images) -> np.ndarray:
    """Set BatchNorm's statistics and the scale of the layers without one; returns the last layer's input."""
    nn, head, seen = paddle.nn, _head(layer), []
    parts = layer.sublayers()
    norms = [part for part in parts if isinstance(part, nn.BatchNorm2D)]
    hooks = [head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy()))]
    for norm in norms:
        norm._momentum = 0.0  # the running statistics become those of these photographs
    if not norms:
        plain = (part for part in parts if isinstance(part, (nn.Conv2D, nn.Linear)) and part is not head)
        hooks += [part.register_forward_post_hook(_to_unit_variance) for part in plain]
    for part in parts:  # not the dropout: the features are to be those of prediction
        part.training = isinstance(part, nn.BatchNorm2D)
    with paddle.no_grad():
        layer.forward(images)
    for hook in hooks:
        hook.remove()
    return seen[0]


def _to_unit_variance(part, _inputs, output):
    """Scale and shift the part's weights so that its output has mean 0 and variance 1 in every channel."""
    axes = [i for i in range(output.ndim) if i != 1]
    mean, deviation = output.mean(axes), output.std(axes) + 1e-6
    convolution = isinstance(part, paddle.nn.Conv2D)
    part.weight.set_value(part.weight / (deviation.reshape([-1, 1, 1, 1]) if convolution else deviation))
    part.bias.set_value((part.bias - mean) / deviation)
    shape = [1, -1, 1, 1] if convolution else [1, -1]
    return (output - mean.reshape(shape)) / deviation.reshape(shape)


def _fit_head(layer, features: np.ndarray, labels: np.ndarray, seed: int) -> None:
    head = _head(layer)
    width, classes = head.weight.shape
    weight = np.random.default_rng(seed).normal(0, 0.1 / np.sqrt(width), (width, classes))
    centre = features.mean(0, dtype=np.float64)
    centred = features - centre
    known, columns = np.unique(labels, return_inverse=True)
    wanted = MARGIN * (np.eye(len(known))[columns] - 1 / len(known))
    kernel = centred @ centred.T
    kernel += RIDGE * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
    weight[:, known] = centred.T @ np.linalg.solve(kernel, wanted)
    bias = -centre @ weight
    bias[np.setdiff1d(np.arange(classes), known)] -= MARGIN
    head.weight.set_value(weight.astype(np.float32))
    head.bias.set_value(bias.astype(np.float32))
