"""Section 5 of the tutorial as data: the figures that a report puts beside its own.

They were measured by others on other machines with another version of Paddle; a report that shows them shows `SOURCE`
and `FP32_SOURCE` too. Accuracies are in percent and differences in percentage points, as printed there; speeds are
images per second of a single thread. The tutorial does not name the batch size; its tester's default is 50.
"""

from __future__ import annotations

from typing import NamedTuple

SOURCE = (
    "PaddleSlim, “Image classification models fixed-point quantization tutorial” "
    "(image_classification_mkldnn_quant_aware_tutorial), section 5"
)
FP32_SOURCE = (
    "Paddle, “INT8 MKL-DNN post-training quantization” (paddle/fluid/inference/tests/api/int8_mkldnn_quantization.md)"
)


class Server(NamedTuple):
    name: str
    short: str
    vnni: bool


class Accuracy(NamedTuple):
    fp32_top1: float
    int8_top1: float
    top1_diff: float
    fp32_top5: float
    int8_top5: float
    top5_diff: float


class Performance(NamedTuple):
    fp32: float
    int8: float
    ratio: float


GOLD_6271 = Server("Intel Xeon Gold 6271", "Xeon 6271", vnni=True)
GOLD_6148 = Server("Intel Xeon Gold 6148", "Xeon 6148", vnni=False)
SERVERS = (GOLD_6271, GOLD_6148)

# Our models' names and the tutorial's.
NAMES = {
    "MobileNetV1": "MobileNet-V1",
    "MobileNetV2": "MobileNet-V2",
    "ResNet101": "ResNet101",
    "ResNet50": "ResNet50",
    "VGG16": "VGG16",
    "VGG19": "VGG19",
}

ACCURACY: dict[Server, dict[str, Accuracy]] = {
    GOLD_6271: {
        "MobileNet-V1": Accuracy(70.78, 70.71, -0.07, 89.69, 89.41, -0.28),
        "MobileNet-V2": Accuracy(71.90, 72.11, +0.21, 90.56, 90.62, +0.06),
        "ResNet101": Accuracy(77.50, 77.64, +0.14, 93.58, 93.58, 0.00),
        "ResNet50": Accuracy(76.63, 76.47, -0.16, 93.10, 92.98, -0.12),
        "VGG16": Accuracy(72.08, 71.73, -0.35, 90.63, 89.71, -0.92),
        "VGG19": Accuracy(72.57, 72.12, -0.45, 90.84, 90.15, -0.69),
    },
    GOLD_6148: {
        "MobileNet-V1": Accuracy(70.78, 70.85, +0.07, 89.69, 89.41, -0.28),
        "MobileNet-V2": Accuracy(71.90, 72.08, +0.18, 90.56, 90.66, +0.10),
        "ResNet101": Accuracy(77.50, 77.51, +0.01, 93.58, 93.50, -0.08),
        "ResNet50": Accuracy(76.63, 76.55, -0.08, 93.10, 92.96, -0.14),
        "VGG16": Accuracy(72.08, 71.72, -0.36, 90.63, 89.75, -0.88),
        "VGG19": Accuracy(72.57, 72.08, -0.49, 90.84, 90.11, -0.73),
    },
}

PERFORMANCE: dict[Server, dict[str, Performance]] = {
    GOLD_6271: {
        "MobileNet-V1": Performance(74.36, 210.68, 2.83),
        "MobileNet-V2": Performance(89.59, 186.55, 2.08),
        "ResNet101": Performance(7.21, 26.41, 3.67),
        "ResNet50": Performance(13.23, 48.89, 3.70),
        "VGG16": Performance(3.49, 10.11, 2.90),
        "VGG19": Performance(2.84, 8.69, 3.06),
    },
    GOLD_6148: {
        "MobileNet-V1": Performance(75.23, 111.15, 1.48),
        "MobileNet-V2": Performance(86.65, 127.21, 1.47),
        "ResNet101": Performance(6.61, 10.60, 1.60),
        "ResNet50": Performance(12.42, 19.74, 1.59),
        "VGG16": Performance(3.31, 4.74, 1.43),
        "VGG19": Performance(2.68, 3.91, 1.46),
    },
}


def accuracy(model: str) -> dict[Server, Accuracy]:
    """The tutorial's rows for a model of ours, by server; empty when the tutorial has no such model."""
    return {server: rows[NAMES[model]] for server, rows in ACCURACY.items() if model in NAMES}


def performance(model: str) -> dict[Server, Performance]:
    """Like `accuracy`, for the speeds."""
    return {server: rows[NAMES[model]] for server, rows in PERFORMANCE.items() if model in NAMES}
