"""Real Paddle programs of a tiny network: what each of them moves, and that training resumes to the same end."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import tiny_model
from tiny_network import CLASSES, MODEL, build

from qat8 import config as configuration
from qat8.engine import paddle
from qat8.older_python import zip_strict
from qat8.training import activations, calibration, loop, programs
from qat8.training.checkpoint import Checkpoints
from qat8.training.images import Images
from qat8.training.loader import Loader


@pytest.fixture(scope="module", autouse=True)
def static_mode():
    """Sessions switch the whole process to static mode; the tests after these want it back."""
    yield
    paddle.disable_static()


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return tiny_model.random_weights()


@pytest.fixture
def opened(weights):
    """`opened(**settings)`: a session with these weights, and its configuration."""
    return lambda **settings: tiny_model.opened(weights, **settings)


@pytest.fixture
def images(photographs):
    return Images.read(photographs(10, "train", classes=CLASSES), MODEL.preprocessing, configuration.load(), CLASSES)


def state(session) -> dict[str, np.ndarray]:
    return {name: session.get(name) for name in session.persistables}


def changed(before: dict, after: dict) -> set[str]:
    return {name for name in before if not np.array_equal(before[name], after[name])}


def of_layers(session, *endings: str) -> set[str]:
    """Variables of the layers' own parameters and statistics."""
    return {variable for name, variable in session.fp32.names.items() if name.endswith(endings or ("",))}


def test_the_fp32_program_computes_what_the_layer_does(opened, weights, images):
    session, _ = opened()
    x, _ = next(images.plain(images.train, 4))
    (got,) = session.run(session.fp32.program, {programs.IMAGE: x}, [session.fp32.logits], session.reference)
    paddle.disable_static()
    layer = build(CLASSES)
    layer.set_state_dict(weights)
    layer.eval()
    expected = layer(paddle.to_tensor(x)).numpy()
    paddle.enable_static()
    assert got == pytest.approx(expected, abs=1e-5)


def test_calibration_moves_the_activation_ranges_and_nothing_else(opened, images):
    session, config = opened()
    before = state(session)
    calibration.ranges(session, Loader(images, config.batch_size), 3)
    moved = changed(before, state(session))
    assert moved and not moved & of_layers(session)
    assert all(any(word in name for word in ("scale", "state", "accum")) for name in moved), moved


def test_calibration_leaves_statistics_alone_that_updates_will_train(opened, images):
    session, config = opened(batch_norm="train")
    before = state(session)
    calibration.ranges(session, Loader(images, config.batch_size), 3)
    moved = changed(before, state(session))
    assert moved and not moved & of_layers(session)
    frozen, _ = opened()
    calibration.ranges(frozen, Loader(images, config.batch_size), 3)
    assert {name: v.tolist() for name, v in state(frozen).items() if name in moved} == {
        name: session.get(name).tolist() for name in moved
    }


def test_correction_gives_quantized_layers_the_means_that_they_have_in_fp32(opened, images):
    session, config = opened()
    calibration.ranges(session, Loader(images, config.batch_size), 20)
    norms = [op for op in session.fp32.program.global_block().ops if op.type == "batch_norm"]
    inputs = [op.input("X")[0] for op in norms]
    batches = [x for x, _ in images.plain(images.train, 8)]

    def shifts() -> list[float]:
        """By how much each normalised channel lies beside its FP32 counterpart, at most."""
        found = []
        for program, scope in ((session.fp32.program, session.reference), (session.test, None)):
            means = activations.of_whole_runs(session, program, inputs, batches, scope)
            own = scope or session.scope
            running = [np.array(own.find_var(op.input("Mean")[0]).get_tensor()) for op in norms]
            found.append([mean - now for mean, now in zip_strict(means, running)])
        return [float(np.abs(a - b).max()) for a, b in zip_strict(*found)]

    before = state(session)
    shifted = shifts()
    assert calibration.correct_means(session, images, 8, config.batch_size) == 2
    assert min(shifted) > 1e-4 and shifts() == pytest.approx([0, 0], abs=1e-5)
    assert changed(before, state(session)) == of_layers(session, "_mean")
    once = state(session)
    calibration.correct_means(session, images, 8, config.batch_size)
    for name, value in state(session).items():
        assert value == pytest.approx(once[name], abs=1e-6), name  # again is the same as once


def test_no_images_correct_no_means(opened, images):
    session, _ = opened()
    before = state(session)
    assert calibration.correct_means(session, images, 0, 4) == 0 and changed(before, state(session)) == set()


def update(session, images, config, count: int = 1) -> None:
    batch = next(Loader(images, config.batch_size).epoch(0))
    teacher = np.eye(CLASSES, dtype=np.float32)[batch.labels[:, 0]] * 9
    feed = {programs.IMAGE: batch.images, programs.LABEL: batch.labels, programs.TEACHER: teacher}
    for done in range(count):
        session.scheduler.step(done)
        session.set(session.rate, session.scheduler())
        session.run(session.update, feed, [session.loss])


def test_an_update_reaches_every_layer_and_leaves_frozen_statistics_alone(opened, images):
    session, config = opened()
    calibration.ranges(session, Loader(images, config.batch_size), 3)
    before = state(session)
    update(session, images, config)
    moved = changed(before, state(session))
    assert of_layers(session, ".weight", ".bias") <= moved
    assert not of_layers(session, "_mean", "_variance") & moved


def test_statistics_are_trained_when_that_is_asked_for(opened, images):
    session, config = opened(batch_norm="train")
    before = state(session)
    update(session, images, config)
    assert of_layers(session, "_mean", "_variance") <= changed(before, state(session))


def test_the_learning_rate_is_the_schedules(opened, images):
    def step(rate: str, count: int) -> np.ndarray:
        milestones = "LearningRate.schedulers.PiecewiseDecay.milestones"
        session, config = opened(**{"LearningRate.base_lr": rate, milestones: "[1]", "momentum": "0"})
        calibration.ranges(session, Loader(images, config.batch_size), 3)
        (name,) = of_layers(session, "fc.bias")
        before = session.get(name)
        update(session, images, config, count)
        return session.get(name) - before

    small, large = step("0.001", 1), step("0.01", 1)
    assert large == pytest.approx(small * 10, rel=1e-3)
    # After the milestone the rate is a tenth, and so is the step; the gradient is as good as the same.
    assert step("0.001", 2) == pytest.approx(small * 1.1, rel=1e-2)


def test_fp32_stays_what_it_was_while_qat_learns(opened, images):
    session, config = opened()
    x, _ = next(images.plain(images.train, 4))
    feed, fetch = {programs.IMAGE: x}, [session.fp32.logits]
    (before,) = session.run(session.fp32.program, feed, fetch, session.reference)
    calibration.ranges(session, Loader(images, config.batch_size), 3)
    update(session, images, config, 3)
    (after,) = session.run(session.fp32.program, feed, fetch, session.reference)
    assert np.array_equal(before, after)


# The whole training.


class Interrupting(programs.Session):
    """A session in which Ctrl-C comes with call number `at`."""

    at, calls = -1, 0

    def run(self, *args, **kwargs):
        if self.calls == self.at:
            raise KeyboardInterrupt
        self.calls += 1
        return super().run(*args, **kwargs)


def train(opened, images, directory, interrupt_at: int = -1):
    session, config = opened()
    session = Interrupting(**vars(session))
    session.at = interrupt_at

    def teacher(x):
        return programs.Session.run(
            session, session.fp32.program, {programs.IMAGE: x}, [session.fp32.logits], session.reference
        )[0]

    checkpoints = Checkpoints(directory, session)
    trainer = loop.Trainer(
        session, Loader(images, config.batch_size), config, teacher, checkpoints, checkpoints.resume("me")
    )
    return trainer.run(), trainer.position, state(session), session.calls


def test_interrupted_at_any_phase_and_resumed_it_ends_with_the_same_history_and_weights(opened, images, tmp_path):
    best, position, weights, calls = train(opened, images, tmp_path / "whole")
    assert position.phase == "done" and len(position.history) == 4
    for at in (4, calls // 2, calls - 2):
        directory = tmp_path / str(at)
        with pytest.raises(KeyboardInterrupt, match="run the same command again"):
            train(opened, images, directory, at)
        resumed_best, resumed, resumed_weights, rest = train(opened, images, directory)
        assert resumed_best.best_at == best.best_at
        assert [e["at"] for e in resumed.history] == [e["at"] for e in position.history]
        for mine, theirs in zip_strict(resumed.history, position.history):
            assert mine["divergence"] == pytest.approx(theirs["divergence"], abs=1e-6)
        for name in weights:
            assert resumed_weights[name] == pytest.approx(weights[name], abs=1e-6), name
        assert rest < calls  # what was reached was not done again


def test_a_saved_qat_model_computes_what_the_test_program_did(opened, images, tmp_path):
    from qat8.prediction import predictor
    from qat8.saving import save_model

    session, config = opened()
    calibration.ranges(session, Loader(images, config.batch_size), 10)
    x, _ = next(images.plain(images.train, 4))
    (expected,) = session.run(session.test, {programs.IMAGE: x}, [session.logits])
    save_model(
        programs.convert(session, config), [programs.IMAGE], [session.logits], session.executor, session.scope, tmp_path
    )
    assert predictor(tmp_path, 1, native=True)(x) == pytest.approx(expected, abs=1e-4)


def test_accumulators_are_kept_under_the_scale_they_belong_to_because_their_numbers_differ_between_processes(opened):
    session, _ = opened()
    quantizers = [op for op in session.ranges.global_block().ops if "OutAccum" in op.output_names]
    accumulators = {op.output("OutScale")[0]: op.output("OutAccum")[0] for op in quantizers}
    assert len(accumulators) > 3
    for scale, variable in accumulators.items():
        assert session.persistables[f"{scale}.OutAccum"] == variable
        assert variable not in session.persistables
        session.set(f"{scale}.OutAccum", np.array([7.0]))
        assert session.get(variable) == 7 and session.get(f"{scale}.OutAccum") == 7
    assert len(set(session.persistables.values())) == len(session.persistables)
