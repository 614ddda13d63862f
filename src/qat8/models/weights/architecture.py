"""The layers of the six models in one order, with the names that each tool gives them.

Of every layer: our state's names, and what torchvision, Paddle 1.x (the static models of PaddleSlim and PaddleCV) and
keras.applications call its convolution and its BatchNorm. A name that a tool does not have is "".
"""

from __future__ import annotations

from dataclasses import dataclass

V1_BLOCKS = 13  # depthwise separable blocks of MobileNet-V1
# (expansion, channels, repeats, stride) of MobileNet-V2: Sandler et al. (2018), table 2.
INVERTED_RESIDUALS = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                      (6, 320, 1, 1)]  # fmt: skip
RESNETS = {"ResNet50": (3, 4, 6, 3), "ResNet101": (3, 4, 23, 3)}
VGGS = {"VGG16": (2, 2, 3, 3, 3), "VGG19": (2, 2, 4, 4, 4)}


@dataclass(frozen=True)
class Layer:
    """`kind` is conv, depthwise or linear; `state` and `norm` are prefixes of our state's names; `norm` "": no
    BatchNorm."""

    kind: str
    state: str
    norm: str = ""
    paddle1: tuple[str, str] = ("", "")  # of the convolution and of its BatchNorm
    keras: tuple[str, str] = ("", "")


def layers(model: str) -> list[Layer]:
    """The layers of a model of the registry, in the order of the data."""
    if model == "MobileNetV1":
        return _mobilenet_v1()
    if model == "MobileNetV2":
        return _mobilenet_v2()
    return _resnet(model) if model in RESNETS else _vgg(model)


def _mobilenet_v1() -> list[Layer]:
    stages = ["conv1", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv4_1", "conv4_2",
              *(f"conv5_{i}" for i in range(1, 7)), "conv6"]  # fmt: skip
    found = [Layer("conv", "features.0.0", "features.0.1", ("conv1", "conv1_bn"), ("conv1", "conv1_bn"))]
    for block in range(1, V1_BLOCKS + 1):
        for kind, ours, theirs, keras in (("depthwise", 2 * block - 1, "dw", "dw"), ("conv", 2 * block, "sep", "pw")):
            paddle1, name = f"{stages[block]}_{theirs}", f"conv_{keras}_{block}"
            norm = f"features.{ours}.1"
            found.append(Layer(kind, f"features.{ours}.0", norm, (paddle1, f"{paddle1}_bn"), (name, f"{name}_bn")))
    return [*found, Layer("linear", "fc", "", ("fc7", ""), ("conv_preds", ""))]


def _mobilenet_v2() -> list[Layer]:
    paddle1 = ("conv1_1", "conv1_1_bn")
    found = [Layer("conv", "features.0.0", "features.0.1", paddle1, ("Conv1", "bn_Conv1"))]
    block = 0
    for stage, (expansion, _, repeats, _) in enumerate(INVERTED_RESIDUALS, 2):
        for repeat in range(1, repeats + 1):
            ours, keras = f"features.{block + 1}.conv", f"block_{block}" if block else "expanded_conv"
            parts = [("conv", "expand", "expand")] if expansion > 1 else []
            parts += [("depthwise", "dwise", "depthwise"), ("conv", "linear", "project")]
            for i, (kind, theirs, name) in enumerate(parts):
                last = name == "project"  # without activation, so not a Sequential of its own
                state, norm = (f"{ours}.{i}", f"{ours}.{i + 1}") if last else (f"{ours}.{i}.0", f"{ours}.{i}.1")
                old = f"conv{stage}_{repeat}_{theirs}"
                found.append(Layer(kind, state, norm, (old, f"{old}_bn"), (f"{keras}_{name}", f"{keras}_{name}_BN")))
            block += 1
    found.append(Layer("conv", "features.18.0", "features.18.1", ("conv9", "conv9_bn"), ("Conv_1", "Conv_1_bn")))
    return [*found, Layer("linear", "classifier.1", "", ("fc10", ""), ("predictions", ""))]


def _resnet(model: str) -> list[Layer]:
    found = [Layer("conv", "conv1", "bn1", ("conv1", "bn_conv1"))]
    for stage, repeats in enumerate(RESNETS[model], 1):
        for block in range(repeats):
            letter = chr(ord("a") + block)
            if model == "ResNet101" and stage == 3 and block:
                letter = f"b{block}"
            ours, theirs = f"layer{stage}.{block}", f"{stage + 1}{letter}"
            for i, branch in enumerate("abc", 1):
                names = (f"res{theirs}_branch2{branch}", f"bn{theirs}_branch2{branch}")
                found.append(Layer("conv", f"{ours}.conv{i}", f"{ours}.bn{i}", names))
            if not block:
                names = (f"res{theirs}_branch1", f"bn{theirs}_branch1")
                found.append(Layer("conv", f"{ours}.downsample.0", f"{ours}.downsample.1", names))
    return [*found, Layer("linear", "fc", "", ("fc_0", ""))]


def _vgg(model: str) -> list[Layer]:
    found, position = [], 0
    for block, repeats in enumerate(VGGS[model], 1):
        for i in range(1, repeats + 1):
            names = (f"conv{block}_{i}", "")
            found.append(Layer("conv", f"features.{position}", "", names, (f"block{block}_conv{i}", "")))
            position += 2
        position += 1
    for state, old, keras in ((0, "fc6", "fc1"), (3, "fc7", "fc2"), (6, "fc8", "predictions")):
        found.append(Layer("linear", f"classifier.{state}", "", (old, ""), (keras, "")))
    return found
