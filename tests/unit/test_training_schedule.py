"""The learning rate after n updates, whatever was asked before."""

import math

import pytest

from qat8 import config as configuration
from qat8.training import schedule

PIECEWISE = "LearningRate.schedulers.PiecewiseDecay"


def rates(updates: int, order=None, **settings) -> list[float]:
    overrides = {"LearningRate.base_lr": "1.0", **{k.replace("__", "."): v for k, v in settings.items()}}
    made = schedule.scheduler(configuration.load(overrides=overrides).LearningRate, updates)
    found = {}
    for n in order or range(updates):
        made.step(n)
        found[n] = made()
    return [found[n] for n in range(updates)]


def test_piecewise_drops_after_60_and_90_percent():
    assert rates(10) == pytest.approx([1] * 6 + [0.1] * 3 + [0.01])


def test_milestones_are_numbers_of_updates_with_a_warm_up_too():
    settings = {f"{PIECEWISE}.milestones": "[3, 5]", f"{PIECEWISE}.gamma": "0.5"}
    assert rates(6, **settings) == pytest.approx([1, 1, 1, 0.5, 0.5, 0.25])
    warm = rates(6, **settings, LearningRate__warmup_updates="2")
    assert warm == pytest.approx([0.5, 0.75, 1, 0.5, 0.5, 0.25])


def test_cosine_is_half_a_period_after_the_warm_up():
    warm = {"LearningRate__schedule": "cosine", "LearningRate__warmup_updates": "4"}
    got = rates(12, **warm)
    assert got[:4] == pytest.approx([0.25, 0.4375, 0.625, 0.8125])
    assert got[4:] == pytest.approx([(1 + math.cos(math.pi * n / 8)) / 2 for n in range(8)])


@pytest.mark.parametrize("kind", ["piecewise", "cosine"])
def test_the_rate_does_not_depend_on_what_was_asked_before(kind):
    settings = {"LearningRate__schedule": kind, "LearningRate__warmup_updates": "3"}
    assert rates(9, **settings) == pytest.approx(rates(9, order=[8, 2, 0, 5, 1, 7, 3, 4, 6], **settings))


@pytest.mark.parametrize("updates", [0, 1, 2])
def test_a_warm_up_longer_than_the_training_is_taken_too(updates):
    assert len(rates(updates, LearningRate__warmup_updates="100", LearningRate__schedule="cosine")) == updates
