"""The order of training, what it keeps, and how it goes on; the network is a pretended one of a single number.

Its logits are the teacher's plus `w` in the first class: the nearer w is to 0, the nearer it is to FP32.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from qat8 import config as configuration
from qat8 import imaging
from qat8.training import loop
from qat8.training.checkpoint import Checkpoints, Position
from qat8.training.images import Images
from qat8.training.loader import Loader
from qat8.training.metrics import NoMetrics
from qat8.training.parallel import Group

SPEC = dataclasses.replace(imaging.SYMMETRIC, crop=8)


def teacher(x):
    return x.reshape(len(x), -1)[:, :5] * 3


class Scheduler:
    def __init__(self) -> None:
        self.at = None

    def step(self, updates: int) -> None:
        self.at = updates

    def __call__(self) -> float:
        return 1 / (1 + self.at)


class Session:
    """`path`: the value of w after each update; `interrupt_at`: the call during which Ctrl-C comes."""

    ranges, update, test, logits, loss, rate = "ranges", "update", "test", "logits", "loss", "rate"
    persistables, group = ("w",), Group()

    def __init__(self, path=(), interrupt_at: int | None = None) -> None:
        self.w, self.path, self.done, self.calls = np.float32(5), path, 0, []
        self.interrupt_at, self.scheduler, self.rates, self.rate_now = interrupt_at, Scheduler(), [], None

    def called(self, what: str) -> None:
        if len(self.calls) == self.interrupt_at:
            raise KeyboardInterrupt
        self.calls.append(what)

    def run(self, program, feed, fetch):
        self.called(program)
        if program == "ranges":
            self.w = np.float32(2)
        if program == "update":
            self.rates.append(self.rate_now)
            self.w = np.float32(self.path[self.scheduler.at])
        logits = teacher(feed["image"]) + np.eye(1, 5, dtype=np.float32) * self.w
        return [np.array([0.5]), logits] if program == "update" else [logits]

    def running(self):
        return []

    def synchronise(self, running=None, share=1):
        """One process has nothing to synchronise."""

    def get(self, name):
        return np.array(self.w)

    def set(self, name, value):
        if name == "rate":
            self.rate_now = value
        else:
            self.w = np.float32(value)


@pytest.fixture
def images(photographs):
    return Images.read(
        photographs(8, "train"), SPEC, configuration.load(overrides={"validation.fraction": "0.25"}), 1000
    )  # 6 to train, 2 to judge


@pytest.fixture
def train(images, tmp_path, monkeypatch):
    """`train(session, **settings)` runs a training in the one directory; its trainer and what it kept."""

    def correct_means(session, *_):
        session.called("means")
        if "update" not in session.calls:
            session.w = np.float32(1)
        return 3

    def run(session, correct=correct_means, metrics=None, **settings):
        monkeypatch.setattr(loop.calibration, "correct_means", correct)
        chosen = {"batch_size": "2", "num_epochs": "1", "calibration.steps": "2", "checkpoint_seconds": "0", **settings}
        config = configuration.load(overrides=chosen)
        checkpoints = Checkpoints(tmp_path, session)
        loader = Loader(images, config.batch_size)
        position = checkpoints.resume("me")
        trainer = loop.Trainer(session, loader, config, teacher, checkpoints, position, metrics or NoMetrics())
        return trainer, trainer.run()

    return run


def test_ranges_then_means_then_updates_and_each_state_is_judged(train):
    session = Session(path=(0.9, 0.8, 0.7))
    trainer, best = train(session)
    calibration = ["ranges", "ranges", "test", "means", "test"]
    assert session.calls == [*calibration, "update", "update", "update", "test"]
    names = [entry["at"] for entry in trainer.position.history]
    assert names == ["ranges calibrated", "3 BatchNorm means corrected", "epoch 1, 3 updates"]
    assert (best.best_at, float(session.w)) == (names[2], pytest.approx(0.7))
    assert trainer.position.phase == "done"


def test_an_update_that_harms_costs_time_and_never_accuracy(train):
    session = Session(path=(2, 4, 8))
    trainer, best = train(session)
    assert best.best_at == "3 BatchNorm means corrected" and float(session.w) == 1
    divergences = [entry["divergence"] for entry in trainer.position.history]
    assert divergences[1] < divergences[0] < divergences[2]
    assert best.best_divergence == divergences[1]


def test_a_correction_that_harms_is_not_kept_either(train):
    def harm(session, *_):
        session.w = np.float32(9)
        return 3

    session = Session(path=(9, 9, 9))
    _, best = train(session, correct=harm)
    assert best.best_at == "ranges calibrated" and float(session.w) == 2


def test_the_best_of_several_epochs_is_kept(train):
    session = Session(path=(0.9, 0.9, 0.9, 0.4, 0.4, 0.4, 0.6, 0.6, 0.6))
    _, best = train(session, num_epochs="3")
    assert best.best_at.startswith("epoch 2, 6 updates") and float(session.w) == pytest.approx(0.4)


def test_no_epochs_only_calibrate(train):
    session = Session()
    _, best = train(session, num_epochs="0")
    assert "update" not in session.calls and best.best_at == "3 BatchNorm means corrected"


@pytest.mark.parametrize(("images_count", "reason"), [("0", "switched off"), ("4", "the model has no BatchNorm")])
def test_means_that_are_not_corrected_are_not_judged_again_and_the_reason_is_told(train, capsys, images_count, reason):
    overrides = {"calibration.mean_correction_images": images_count}
    trainer, _ = train(Session(path=(1, 1, 1)), correct=lambda *_: 0, **overrides)
    assert [entry["at"] for entry in trainer.position.history] == ["ranges calibrated", "epoch 1, 3 updates"]
    assert f"means are not corrected: {reason}" in capsys.readouterr().out


def test_the_learning_rate_follows_the_number_of_updates(train):
    session = Session(path=(1,) * 6)
    train(session, num_epochs="2")
    assert session.rates == [1 / (1 + updates) for updates in range(6)]


def test_the_measures_are_divergence_agreement_and_top1(train, images):
    trainer, _ = train(Session(path=(0, 0, 0)))
    entry = trainer.position.history[-1]
    x, label = next(images.plain(images.validation, 2))
    assert entry["divergence"] == pytest.approx(0) and (entry["agreement"], entry["images"]) == (1, 2)
    assert entry["top1"] == (teacher(x).argmax(1) == label[:, 0]).mean()
    first = trainer.position.history[0]  # there w was 2
    p = np.exp(loop.log_softmax(teacher(x)))
    q = np.exp(loop.log_softmax(teacher(x) + np.eye(1, 5) * 2))
    assert first["divergence"] == pytest.approx((p * np.log(p / q)).sum(1).mean())


# Interruptions.

PATH = (0.9, 0.8, 0.85, 0.5, 0.6, 0.7)  # after epoch 2 it is better than after epoch 1


def test_an_interruption_says_where_it_stopped_and_that_it_goes_on(train):
    with pytest.raises(KeyboardInterrupt) as stop:
        train(Session(PATH, interrupt_at=6), num_epochs="2")
    assert str(stop.value) == "interrupted (updates, 1 updates done); run the same command again to go on"


@pytest.mark.parametrize("call", range(13))
def test_wherever_it_is_interrupted_it_ends_as_if_it_had_not_been(train, tmp_path, call):
    with pytest.raises(KeyboardInterrupt):
        train(Session(PATH, interrupt_at=call), num_epochs="2")
    resumed, best = train(Session(PATH), num_epochs="2")
    for file in ("latest.npz", "best.npz"):
        (tmp_path / file).unlink()
    reference, expected = train(Session(PATH), num_epochs="2")
    assert best == expected and expected.best_at == "epoch 2, 6 updates"
    assert resumed.position == reference.position


def test_what_was_done_is_not_done_again(train):
    with pytest.raises(KeyboardInterrupt):
        train(Session(PATH, interrupt_at=7), num_epochs="2")
    session = Session(PATH)
    train(session, num_epochs="2")
    assert session.calls == ["update", "test", "update", "update", "update", "test"]


def test_a_training_that_is_done_is_only_read_again(train):
    train(Session(PATH), num_epochs="2")
    session = Session(PATH)
    _, best = train(session, num_epochs="2")
    assert session.calls == [] and best.best_at == "epoch 2, 6 updates"
    assert float(session.w) == pytest.approx(PATH[-1])


# Arithmetic.


@pytest.mark.parametrize(
    ("epochs", "batch", "limit", "expected"),
    [(1, 2, 0, 3), (2, 4, 0, 4), (2, 4, 3, 3), (2, 4, 100, 4), (0, 2, 0, 0), (0, 2, 5, 0), (3, 100, 0, 3)],
)
def test_updates_are_epochs_times_steps_up_to_the_limit(images, epochs, batch, limit, expected):
    overrides = {"num_epochs": str(epochs), "batch_size": str(batch), "max_iters": str(limit)}
    assert loop.updates(images, configuration.load(overrides=overrides)) == expected


def test_max_iters_ends_within_an_epoch_and_that_state_is_judged_too(train):
    session = Session(path=(0.9, 0.8, 0.7))
    trainer, _ = train(session, max_iters="2")
    assert session.calls.count("update") == 2
    assert trainer.position.history[-1]["at"] == "epoch 1, 2 updates"


def test_log_softmax_sums_to_one_and_bears_large_logits():
    logits = np.array([[1000.0, 1000.0, 999.0], [-5.0, 0.0, 5.0]], np.float32)
    result = loop.log_softmax(logits)
    assert np.exp(result).sum(1) == pytest.approx([1, 1])
    assert result[0, 0] - result[0, 2] == pytest.approx(1) and result[1, 2] - result[1, 0] == pytest.approx(10)


def test_a_position_starts_at_the_start():
    assert dataclasses.asdict(Position("x")) == {
        "fingerprint": "x", "phase": "start", "updates": 0, "best_divergence": 0.0, "best_at": "", "history": [],
    }  # fmt: skip


# What is the best, and when it is enough.


@pytest.mark.parametrize(("criterion", "kept"), [("divergence", 1), ("top1", 0)])
def test_the_best_is_by_divergence_or_by_top1_as_asked(train, monkeypatch, criterion, kept):
    scores = iter([
        {"divergence": 0.5, "agreement": 1.0, "top1": 0.9, "images": 2},
        {"divergence": 0.1, "agreement": 1.0, "top1": 0.8, "images": 2},
        {"divergence": 0.3, "agreement": 1.0, "top1": 0.85, "images": 2},
    ])  # fmt: skip
    monkeypatch.setattr(loop.Trainer, "_validate", lambda _: next(scores))
    trainer, best = train(Session(path=(1, 1, 1)), **{"validation.best_by": criterion})
    assert best.best_at == trainer.position.history[kept]["at"]


def test_equal_top1_is_decided_by_the_divergence(train, monkeypatch):
    scores = iter([{"divergence": d, "agreement": 1.0, "top1": 0.5, "images": 2} for d in (0.3, 0.2, 0.4)])
    monkeypatch.setattr(loop.Trainer, "_validate", lambda _: next(scores))
    trainer, best = train(Session(path=(1, 1, 1)), **{"validation.best_by": "top1"})
    assert best.best_at == trainer.position.history[1]["at"]


WORSE = (0.5,) * 3 + (0.6,) * 3 + (0.7,) * 3 + (0.1,) * 3  # the first epoch is the best of three, the fourth of all


@pytest.mark.parametrize(("patience", "epochs"), [("0", 4), ("1", 2), ("2", 3), ("3", 4)])
def test_so_many_epochs_in_a_row_that_were_not_the_best_end_the_training(train, capsys, patience, epochs):
    trainer, best = train(Session(WORSE), num_epochs="4", **{"validation.patience": patience})
    assert trainer.position.updates == epochs * 3 and trainer.position.phase == "done"
    assert best.best_at == ("epoch 4, 12 updates" if epochs == 4 else "epoch 1, 3 updates")
    assert ("ended early" in capsys.readouterr().out) == (epochs < 4)


def test_a_calibration_that_no_epoch_betters_ends_it_too(train):
    trainer, best = train(Session((2,) * 12), num_epochs="4", **{"validation.patience": "1"})
    assert (trainer.position.updates, best.best_at) == (3, "3 BatchNorm means corrected")


def test_every_update_and_every_validation_is_written_down_with_its_rate(train):
    written = []

    class Written:
        def updated(self, *values):
            written.append(values[:2])
            rates.append(values[4])

        def judged(self, update, at, score, best):
            written.append((at, best))

    rates: list[float] = []
    trainer = train(Session(path=(0.9, 0.8, 2)), num_epochs="1", metrics=Written())[0]
    assert written == [
        ("ranges calibrated", True), ("3 BatchNorm means corrected", True), (1, 1), (2, 1), (3, 1),
        ("epoch 1, 3 updates", False),
    ]  # fmt: skip
    assert rates == [1, 1 / 2, 1 / 3] and trainer.position.updates == 3
