"""Random weights: a sensible range in every layer, and different photographs give different outputs."""

import numpy as np
import pytest

from qat8.engine import paddle
from qat8.imaging import IMAGENET
from qat8.models import random_weights
from qat8.models.registry import Model

nn = paddle.nn
CLASSES = 10


def with_norm(classes):
    return nn.Sequential(nn.Conv2D(3, 8, 3, bias_attr=False), nn.BatchNorm2D(8), nn.ReLU(), nn.AdaptiveAvgPool2D(2),
                         nn.Flatten(), nn.Linear(32, classes))  # fmt: skip


def without_norm(classes):
    return nn.Sequential(nn.Conv2D(3, 8, 3), nn.ReLU(), nn.Conv2D(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2D(2),
                         nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Dropout(0.5),
                         nn.Linear(16, classes))  # fmt: skip


IMAGES = np.random.default_rng(1).normal(0, 2, (6, 3, 12, 12)).astype(np.float32)
LABELS = np.array([1, 4, 9, 2, 7, 5])


@pytest.fixture(params=[with_norm, without_norm])
def model(request):
    return Model("tiny", request.param, IMAGENET, CLASSES)


def outputs(model, state):
    paddle.disable_static()
    layer = model.build(CLASSES)
    layer.set_state_dict(state)
    layer.eval()
    return layer(paddle.to_tensor(IMAGES)).numpy()


def test_the_photographs_that_set_the_ranges_are_told_apart(model):
    state = random_weights.state(model, IMAGES, LABELS)
    assert outputs(model, state).argmax(1).tolist() == LABELS.tolist()


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(model):
    first, again, other = (random_weights.state(model, IMAGES, LABELS, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)


def test_layers_without_batch_normalisation_give_mean_0_and_variance_1():
    state = random_weights.state(Model("tiny", without_norm, IMAGENET, CLASSES), IMAGES, LABELS)
    paddle.disable_static()
    layer = without_norm(CLASSES)
    layer.set_state_dict(state)
    out = layer[0](paddle.to_tensor(IMAGES)).numpy()
    np.testing.assert_allclose(out.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(out.std((0, 2, 3)), 1, atol=1e-2)
