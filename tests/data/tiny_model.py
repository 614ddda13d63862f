"""A network of two convolutions that trains in milliseconds; for tests of real Paddle programs."""

import dataclasses

import numpy as np

from qat8 import config as configuration
from qat8 import imaging
from qat8.engine import paddle
from qat8.models.registry import Model
from qat8.training import programs

SIDE, CLASSES = 8, 4
SETTINGS = {
    "batch_size": "4", "num_epochs": "2", "calibration.steps": "3", "calibration.mean_correction_images": "8",
    "LearningRate.base_lr": "0.01", "checkpoint_seconds": "0",
}  # fmt: skip


def build(classes: int):
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


def random_weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    session = programs.open_session(MODEL, configuration.load(), 1)
    state = {name: random.normal(0, 1, shape).astype(np.float32) for name, shape in session.fp32.shapes.items()}
    return state | {name: np.abs(value) + 0.5 for name, value in state.items() if name.endswith("_variance")}


def opened(weights: dict[str, np.ndarray], group=None, **settings):
    """A session with these weights, and its configuration."""
    config = configuration.load(overrides={**SETTINGS, **settings})
    with paddle.utils.unique_name.guard():  # the names of a fresh process
        session = programs.open_session(MODEL, config, 4, group)
    programs.load_weights(session, weights)
    return session, config
