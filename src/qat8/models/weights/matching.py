"""Arrays of another tool -> our state, and what became of each: matched, missing, unused, changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qat8.errors import ModelError
from qat8.models.weights.architecture import RESNETS, Layer, layers
from qat8.models.weights.formats import Source
from qat8.models.weights.layouts import OUR_EPSILON, OURS, Layout, recognise
from qat8.older_python import zip_strict

# Counters of PyTorch's BatchNorm, which inference does not use.
_NO_WEIGHTS = ("num_batches_tracked",)
_NAMED = 4  # so many names are spelt out, the rest are counted


@dataclass
class Match:
    """`origin`: the model's variant that these weights belong to; `state`: our names -> float32 arrays."""

    layout: str
    origin: str
    state: dict[str, np.ndarray] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people, one fact a line."""
        said = [f"matched: {len(self.state)} arrays, layout {self.layout}"]
        problems = {"missing": self.missing, "of another shape": self.misfits, "unused": self.unused}
        said += [f"{what}: {_listed(names)}" for what, names in problems.items() if names]
        return said + self.notes


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def match(source: Source, model: str, shapes: dict[str, tuple[int, ...]]) -> Match:
    """Find every array of the model's state in `source`; `shapes` are those that the state must have.

    Raises:
        ModelError: the weights belong to a network that computes something else under the same names.
    """
    wanted = layers(model)
    if source.format == "graphdef":
        found = _graphdef(source, model)
    else:
        layout = recognise(wanted, source.tensors)
        found = _by_name(source, wanted, layout, model)
        if source.nodes and found.missing:
            found = _by_node(source, wanted, model)
    if model in RESNETS and found.origin == "tensorflow":
        raise ModelError(
            f"{source.path}: keras.applications' {model} has its strides in the blocks' first convolution",
            "weights of a network with the strides in the 3 x 3 convolution, as Paddle's and torchvision's",
        )
    _fit(found, shapes)
    found.unused = sorted(
        name for name, array in source.tensors.items()
        if name not in found.used and array.dtype.kind == "f" and not name.endswith(_NO_WEIGHTS)
    )  # fmt: skip
    found.notes += source.notes
    return found


def require_whole(found: Match, path: Path, allow_unused: bool = False) -> None:
    """Refuse a match that leaves an array of the model without a value, or one of the source without a use.

    Raises:
        ModelError: what is wrong, by name.
    """
    problems = {"missing": found.missing, "of another shape": found.misfits}
    problems |= {} if allow_unused else {"unused": found.unused}
    said = [f"{what}: {_listed(names)}" for what, names in problems.items() if names]
    if said:
        raise ModelError(
            f"{path} does not fit the model ({found.layout}): {'; '.join(said)}", "weights of this very model"
        )


def origin(source: Source, model: str) -> str:
    """The model's variant that the weights belong to, without reading them all."""
    if source.format == "graphdef":
        return "tensorflow"
    wanted = layers(model)
    layout = recognise(wanted, source.tensors)
    named = any(name in source.tensors for layer in wanted for name in layout.weight(layer))
    return layout.origin if named or not source.nodes else _origin(source)


def _by_name(source: Source, wanted: list[Layer], layout: Layout, model: str) -> Match:
    found = Match(layout.name, layout.origin)

    def take(state: str, names: list[str]) -> np.ndarray | None:
        name = next((n for n in names if n in source.tensors), None)
        if name is None:
            found.missing.append(state)
            return None
        found.used.add(name)
        found.state[state] = np.asarray(source.tensors[name], np.float32)
        return found.state[state]

    for layer in wanted:
        if (array := take(f"{layer.state}.weight", layout.weight(layer))) is not None:
            found.state[f"{layer.state}.weight"] = layout.convert(layer, array)
        if layer.norm:
            for ours, theirs in zip_strict(OURS, layout.norm(layer)):
                take(f"{layer.norm}.{ours}", [theirs])
        else:
            take(f"{layer.state}.bias", layout.bias(layer))
    _zero_biases(found, wanted, layout)
    _move_epsilon(found, wanted, layout.epsilon.get(model, 1e-5), OUR_EPSILON.get(model, 1e-5))
    if layout.name == "keras" and model.startswith("VGG") and "features.0.weight" in found.state:
        _fold_caffe_input(found)
    return found


def _zero_biases(found: Match, wanted: list[Layer], layout: Layout) -> None:
    """Paddle 1.x's VGGs have no biases in their convolutions; ours have, and zeros are the same function."""
    biases = [f"{n.state}.bias" for n in wanted if n.kind == "conv" and not n.norm]
    if layout.name == "paddle1" and biases and all(name in found.missing for name in biases):
        for layer in (n for n in wanted if n.kind == "conv" and f"{n.state}.weight" in found.state):
            found.state[f"{layer.state}.bias"] = np.zeros(len(found.state[f"{layer.state}.weight"]), np.float32)
            found.missing.remove(f"{layer.state}.bias")
        found.notes.append(f"{len(biases)} biases set to 0: the source's convolutions have none")


def _move_epsilon(found: Match, wanted: list[Layer], theirs: float, ours: float) -> None:
    """BatchNorm divides by sqrt(variance + epsilon): what differs in epsilon goes into the variance."""
    names = [f"{n.norm}._variance" for n in wanted if n.norm and f"{n.norm}._variance" in found.state]
    if names and theirs != ours:
        for name in names:
            found.state[name] = found.state[name] + np.float32(theirs - ours)
        found.notes.append(
            f"{len(names)} variances changed by {theirs - ours:+.3g}: epsilon {theirs:g} there, {ours:g} here"
        )


def _fold_caffe_input(found: Match) -> None:
    """keras.applications' VGGs take BGR in [0, 255] less a mean; ours RGB in [0, 1], normalised: the first
    convolution takes up the difference. (At the border the two paddings differ by less than half of a level.)"""
    std = np.array([0.229, 0.224, 0.225], np.float32)
    mean = np.array([0.485, 0.456, 0.406], np.float32) * 255 - np.array([123.68, 116.779, 103.939], np.float32)
    weight = found.state["features.0.weight"][:, ::-1]  # of BGR inputs, now in the order RGB
    found.state["features.0.weight"] = weight * (255 * std)[None, :, None, None]
    found.state["features.0.bias"] = found.state["features.0.bias"] + (weight.sum((2, 3)) * mean).sum(1)
    found.notes.append("first convolution changed from BGR in [0, 255] less a mean to this model's normalised RGB")


def _by_node(source: Source, wanted: list[Layer], model: str) -> Match:
    """Of an ONNX graph whose initializers' names say nothing: by the nodes' names, or else by their order."""
    by_module = {node.module: node for node in source.nodes if node.module}
    if all(layer.state in by_module for layer in wanted):
        pairs, how = [(layer, by_module[layer.state]) for layer in wanted], "onnx (by the nodes' names)"
    elif model in RESNETS:
        raise ModelError(
            f"{source.path}: neither initializers nor nodes have names that tell {model}'s branches apart",
            "an export by PyTorch 1.13 or newer, or with keep_initializers_as_inputs and without constant folding",
        )
    elif len(source.nodes) != len(wanted):
        raise ModelError(f"{source.path}: {len(source.nodes)} layers with weights", f"{len(wanted)}, as {model} has")
    else:
        pairs, how = list(zip_strict(wanted, source.nodes)), "onnx (by the layers' order)"
    found = Match(how, _origin(source))
    for layer, node in pairs:
        _take_node(found, layer, node, model)
    found.used |= {name for name, a in source.tensors.items() if any(a is b for b in _arrays(source))}
    return found


def _arrays(source: Source) -> list[np.ndarray]:
    return [a for n in source.nodes for a in (source.tensors.get(n.weight_name), n.bias, *(n.norm or {}).values())]


def _origin(source: Source) -> str:
    """TensorFlow's SAME pads a stride-2 convolution at the end only; Paddle and PyTorch at both sides."""
    strided = [
        n.attributes for n in source.nodes if n.kind == "conv" and list(n.attributes.get("strides", [])) == [2, 2]
    ]
    same = [a for a in strided if a.get("auto_pad") == b"SAME_UPPER" or list(a.get("pads", [])) in ([0, 0, 1, 1],)]
    return "tensorflow" if same else "paddle"


def _take_node(found: Match, layer: Layer, node, model: str) -> None:
    found.used.add(node.weight_name)
    weight = np.asarray(node.weight, np.float32)
    found.state[f"{layer.state}.weight"] = (
        weight[:, :, 0, 0].T if layer.kind == "linear" and weight.ndim == 4 else weight
    )
    outputs = weight.shape[-1] if layer.kind == "linear" and weight.ndim == 2 else weight.shape[0]
    bias = np.zeros(outputs, np.float32) if node.bias is None else np.asarray(node.bias, np.float32).reshape(-1)
    if not layer.norm:
        found.state[f"{layer.state}.bias"] = bias
        return
    epsilon, norm = OUR_EPSILON.get(model, 1e-5), node.norm
    if norm is None:  # folded into the convolution: what is left of it is the bias
        values = [np.ones(outputs), bias, np.zeros(outputs), np.full(outputs, 1 - epsilon)]
    else:
        mean = norm["running_mean"] - bias
        values = [norm["weight"], norm["bias"], mean, norm["running_var"] + (node.epsilon - epsilon)]
    found.state |= {f"{layer.norm}.{k}": np.asarray(v, np.float32) for k, v in zip_strict(OURS, values)}


def _graphdef(source: Source, model: str) -> Match:
    from qat8.models import tensorflow_weights

    if model != "MobileNetV1":
        raise ModelError(f"{source.path}: a GraphDef of {model} cannot be read", "one of MobileNetV1")
    found = Match("TensorFlow-Slim", "tensorflow", tensorflow_weights.mobilenet_v1_state(source.path))
    found.used = {name for name in source.tensors if name.startswith(f"{tensorflow_weights.SCOPE}/")}
    return found


def _fit(found: Match, shapes: dict[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        array = found.state.get(name)
        if array is not None and array.shape != shape:
            if array.shape[:-1] == shape[:-1] and array.shape[-1] == shape[-1] + 1 and len(shape) < 3:
                array = array[..., 1:]
                found.notes.append(
                    f"{name}: class 0 of {shape[-1] + 1} left out, the background of TensorFlow's models"
                )
            else:
                found.misfits.append(f"{name} {list(array.shape)}, not {list(shape)}")
                array = None
        if array is None:
            found.state.pop(name, None)
        else:
            found.state[name] = np.ascontiguousarray(array, np.float32)
    bad = [name for name, array in found.state.items() if not np.isfinite(array).all()]
    if bad:
        raise ModelError(f"{_listed(bad)}: not finite numbers", "weights that a training ended well with")
