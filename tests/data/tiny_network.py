"""A network of two convolutions and a linear layer that trains in milliseconds. Paddle is loaded when it is built."""

import dataclasses

from qat8 import imaging
from qat8.models.registry import Model

SIDE, CLASSES = 8, 4


def build(classes: int):
    from qat8.engine import paddle

    nn = paddle.nn

    class Tiny(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2D(3, 4, 3, bias_attr=False), nn.BatchNorm2D(4), nn.ReLU(),
                nn.Conv2D(4, 6, 3, bias_attr=False), nn.BatchNorm2D(6), nn.ReLU(),
            )  # fmt: skip
            self.pool, self.fc = nn.AdaptiveAvgPool2D(1), nn.Linear(6, classes)

        def forward(self, x):
            return self.fc(paddle.flatten(self.pool(self.features(x)), 1))

    return Tiny()


MODEL = Model("Tiny", build, dataclasses.replace(imaging.SYMMETRIC, crop=SIDE), CLASSES)
