"""The tiny network's weights and sessions, for tests of real Paddle programs."""

import numpy as np
from tiny_network import MODEL

from qat8 import config as configuration
from qat8.engine import paddle
from qat8.training import programs

SETTINGS = {
    "batch_size": "4", "num_epochs": "2", "calibration.steps": "3", "calibration.mean_correction_images": "8",
    "LearningRate.base_lr": "0.01", "checkpoint_seconds": "0",
}  # fmt: skip


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
