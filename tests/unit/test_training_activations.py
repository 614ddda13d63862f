"""Means of activations, layer after layer: those of whole runs to the last bit, and nothing is computed twice."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import tiny_model
from tiny_network import MODEL

from qat8.engine import paddle
from qat8.models import registry
from qat8.older_python import zip_strict
from qat8.training import activations, programs

pytestmark = pytest.mark.usefixtures("static_mode")


def norms(program) -> list:
    return [op for op in program.global_block().ops if op.type == "batch_norm"]


@pytest.fixture
def batches() -> list[np.ndarray]:
    random, side = np.random.default_rng(3), MODEL.preprocessing.crop
    return [random.normal(0, 1, (n, 3, side, side)).astype(np.float32) for n in (4, 3)]


@pytest.fixture
def session(batches):
    opened = tiny_model.opened(tiny_model.random_weights())[0]
    for x in batches * 5:
        opened.run(opened.ranges, {programs.IMAGE: x}, [opened.logits])
    return opened


def moved(session, norm, mean: np.ndarray) -> None:
    """What a correction does: later layers see other inputs."""
    name = norm.input("Mean")[0]
    session.set(name, session.get(name) + mean)


def test_the_means_are_those_of_whole_runs_to_the_last_bit_with_parameters_that_change_on_the_way(session, batches):
    found_norms = norms(session.test)
    variables = [op.input("X")[0] for op in found_norms]
    before = {op.input("Mean")[0]: session.get(op.input("Mean")[0]) for op in found_norms}
    expected, (program, names) = [], activations.with_means(session.test, variables)
    for norm, name in zip_strict(found_norms, names):
        whole = [session.run(program, {programs.IMAGE: x}, [name])[0] for x in batches]
        expected.append(np.average(whole, axis=0, weights=[len(x) for x in batches]))
        moved(session, norm, expected[-1])
    for name, value in before.items():
        session.set(name, value)
    unmoved = list(activations.means(session, variables, batches))
    assert any(not np.array_equal(a, b) for a, b in zip_strict(unmoved, expected)), "the changes change nothing"
    for norm, mean, wanted in zip_strict(found_norms, activations.means(session, variables, batches), expected):
        assert np.array_equal(mean, wanted)
        moved(session, norm, mean)


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50"])
def test_every_operator_runs_once_and_what_no_later_step_wants_is_forgotten(name):
    with paddle.utils.unique_name.guard():
        program = programs.build_model(registry.get(name)).program
    block, found = program.global_block(), norms(program)
    variables = [op.input("X")[0] for op in found]
    steps = activations.steps(program, variables)
    there, ran, most = {programs.IMAGE}, set(), 0
    for variable, (feed, keep, later) in zip_strict(variables, steps):
        assert set(feed) <= there, "a step starts from what earlier ones left"
        program_of_step = program._prune_with_input(feed, [block.var(v) for v in {variable, *keep}])
        outputs = [n for op in program_of_step.global_block().ops for n in op.output_arg_names
                   if not program_of_step.global_block().var(n).persistable]  # fmt: skip
        assert outputs and not ran & set(outputs), "an operator ran twice"
        ran |= set(outputs)
        there = (there | set(keep)) & later
        most = max(most, len(there))
    assert not there and len([n for n in ran if n in variables]) == len(variables)
    assert len(found) > 50 and most <= 3, "a residual network's step leaves its own output and the shortcut's"
