"""One training in two processes: the same model as from one, the gradients really added up, and failures that are told.

The network is a tiny one, but the programs, gloo and the launcher are the real ones.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import tiny_model
import tiny_network

from qat8.errors import MachineError, StageError, UsageError
from qat8.older_python import zip_strict
from qat8.training import launch

pytestmark = pytest.mark.integration

WORKER = Path(__file__).parents[1] / "data/parallel_worker.py"
# Learning from labels: a gradient that is not mere noise of quantization, as that of a network that knows its teacher's
# answers.
LABELS = ["distillation.weight=0", "batch_size=6", "LearningRate.base_lr=0.05"]


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return tiny_model.random_weights()


@pytest.fixture
def data(photographs):
    return photographs(20, "train", classes=tiny_network.CLASSES)  # 16 to train: the last batch of 6 is one of 4


@pytest.fixture
def train(tmp_path, weights, monkeypatch):
    """`train(size, name, data, *settings)`: directory of a training in `size` processes."""
    monkeypatch.setattr(launch, "_command", lambda argv: [sys.executable, str(WORKER), *argv])
    np.savez(tmp_path / "weights.npz", **weights)

    def run(size: int, name: str, data, *settings: str) -> Path:
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        launch.run([str(data), str(tmp_path / "weights.npz"), str(out), *settings], launch.Layout(size), out / "logs")
        return out

    return run


def arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file) as content:
        return {k: content[k] for k in content.files if k != "__position__"}


def difference(one: dict, two: dict, names, before: dict | None = None) -> float:
    """The greatest, in parts of the greatest value of its array; of the change since `before` when that is given."""
    worst = 0.0
    for name in names:
        base = before[name] if before else 0
        worst = max(worst, np.abs(one[name] - two[name]).max() / np.abs(one[name] - base).max())
    return worst


def learned(state: dict) -> list[str]:
    """Weights that training moves."""
    return [name for name in state if "_velocity_" in name]


def parameters(state: dict) -> list[str]:
    return [name.removeprefix("optimizer_").removesuffix("_velocity_0") for name in learned(state)]


def test_two_processes_on_half_the_batch_make_the_update_of_one_on_all_of_it(train):
    one = arrays(train(1, "one", "-", *LABELS) / "rank0.npz")
    two = train(2, "two", "-", *LABELS)
    first, second = arrays(two / "rank0.npz"), arrays(two / "rank1.npz")
    assert len(learned(one)) == 8  # every weight, bias and BatchNorm of the network
    assert difference(one, first, learned(one)) < 1e-5  # momentum after three updates: the gradients themselves
    assert difference(one, first, parameters(one)) < 1e-6
    assert all(np.array_equal(first[name], second[name]) for name in [*learned(one), *parameters(one)])
    alone = arrays(train(1, "half", "-", *LABELS, "momentum=0.5") / "rank0.npz")
    assert difference(one, alone, learned(one)) > 1e-2  # the comparison can fail


def test_a_whole_training_in_two_processes_gives_the_model_of_one(train, data, weights):
    one, two = train(1, "one", data, *LABELS), train(2, "two", data, *LABELS)
    whole, halves, second = (arrays(f) for f in (one / "latest.npz", two / "latest.npz", two / "rank1.npz"))
    assert all(np.array_equal(halves[name], second[name]) for name in halves)
    # Ranges follow the whole batch after each step, but within a step each process quantizes by those of its own half.
    assert difference(whole, halves, parameters(whole)) < 2e-2
    ranges = [n for n in whole if n.endswith("@scale") and "loss" not in n]
    assert len(ranges) > 8 and difference(whole, halves, ranges) < 2e-2
    assert [e["update"] for e in metrics(two)] == [e["update"] for e in metrics(one)]
    for mine, theirs in zip_strict(metrics(two), metrics(one)):
        if mine["kind"] == "update":
            assert mine["loss"] == pytest.approx(theirs["loss"], rel=0.05)


def test_batch_norms_that_train_get_the_statistics_of_the_whole_batch(train, weights):
    """Of three images in one process and one in the other: the mean of the two would be another one."""
    settings = [*LABELS, "batch_norm=train"]
    one, two = arrays(train(1, "one", "+", *settings) / "rank0.npz"), train(2, "two", "+", *settings)
    first, second = arrays(two / "rank0.npz"), arrays(two / "rank1.npz")
    assert len(running(one)) == 4  # mean and variance of two BatchNorms
    assert all(np.array_equal(first[name], second[name]) for name in running(one))
    mean, variance = running(one)[:2]
    before = {mean: weights["features.1._mean"], variance: weights["features.1._variance"]}
    assert min(np.abs(one[name] - before[name]).max() for name in before) > 0.1  # they have moved
    # In parts of how far they have. The second BatchNorm's are others: what reaches it was normalised by each part.
    assert difference(one, first, before, before) < 1e-5


def test_a_whole_training_of_batch_norms_in_two_processes_is_near_that_of_one(train, photographs):
    """Each process normalises by its own half of a batch: the larger it is, the nearer."""
    data = photographs(40, "train", classes=tiny_network.CLASSES)
    settings = ["distillation.weight=0", "batch_size=32", "LearningRate.base_lr=0.001", "batch_norm=train"]
    one, two = train(1, "one", data, *settings), train(2, "two", data, *settings)
    whole, halves, second = (arrays(f) for f in (one / "latest.npz", two / "latest.npz", two / "rank1.npz"))
    assert all(np.array_equal(halves[name], second[name]) for name in halves)
    assert difference(whole, halves, running(whole)) < 2e-2


def running(state: dict) -> list[str]:
    """Running means (w_1) and variances (w_2)."""
    return sorted(name for name in state if "norm" in name and name.endswith((".w_1", ".w_2")))


def metrics(directory: Path) -> list[dict]:
    """Without what the clock says."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_a_killed_rank_ends_the_training_with_its_log_named_and_the_next_run_goes_on(train, data, tmp_path):
    with pytest.raises(StageError) as failed:
        train(2, "killed", data, *LABELS, "DIE_AT=4")
    said = str(failed.value)
    assert "rank 1" in said and "killed/logs/rank1.log" in said and "ended by signal 9" in said
    assert "run the same command again" in said
    assert "another process of this training is gone" in launch.log(tmp_path / "killed/logs", 0).read_text()
    mine = psutil.Process().children(recursive=True)
    assert not [p for p in mine if "parallel_worker" in " ".join(p.cmdline())]

    shutil.copytree(tmp_path / "killed", tmp_path / "mixed")
    resumed, whole = train(2, "killed", data, *LABELS), train(2, "whole", data, *LABELS)
    assert metrics(resumed) == metrics(whole)
    one, other = arrays(resumed / "latest.npz"), arrays(whole / "latest.npz")
    assert all(np.array_equal(one[name], other[name]) for name in one)

    mixed = metrics(train(1, "mixed", data, *LABELS))  # another number of processes may go on with it
    assert mixed[:7] == metrics(whole)[:7] and [e["update"] for e in mixed] == [e["update"] for e in metrics(whole)]


def test_a_rank_that_fails_by_itself_gives_its_exit_code_and_words(train, data):
    broken = data / "train/3.jpg"
    broken.write_bytes(b"no photograph")
    with pytest.raises(Exception, match=r"rank \d \(log: .*rank\d\.log\): .*3\.jpg: not a readable image") as failed:
        train(2, "broken", data, *LABELS)
    assert failed.value.exit_code == 3


def test_two_machines_find_each_other_by_their_addresses(train, data, tmp_path):
    """Both are this machine, each with a launcher of its own, as a user starts them."""
    arguments = [str(data), str(tmp_path / "weights.npz"), str(tmp_path), *LABELS, "num_epochs=0"]
    with launch.Rendezvous.opened("127.0.0.1", 0) as free:
        port = free.port
    failures = []

    def node(number: int) -> None:
        layout = launch.Layout(1, ("127.0.0.1", "127.0.0.1"), number, port)
        try:
            launch.run(arguments, layout, tmp_path / f"node{number}")
        except Exception as e:
            failures.append(e)

    second = threading.Thread(target=node, args=(1,))
    second.start()
    time.sleep(0.3)  # the first machine may come later
    node(0)
    second.join()
    assert failures == []
    first, other = arrays(tmp_path / "latest.npz"), arrays(tmp_path / "rank1.npz")
    assert all(np.array_equal(first[name], other[name]) for name in first)


def test_a_port_that_is_taken_and_hosts_that_are_not_there_are_refused(tmp_path):
    with launch.Rendezvous.opened("127.0.0.1", 0) as taken, pytest.raises(MachineError, match="--port=N"):
        launch.run([], launch.Layout(2, port=taken.port), tmp_path)
    with pytest.raises(UsageError, match=r"this machine among them.*--node-rank"):
        launch.Layout.of(1, "203.0.113.7,203.0.113.8", None, None)
    with pytest.raises(UsageError, match="from 0 to 1"):
        launch.Layout.of(1, "127.0.0.1,127.0.0.1", 2, None)
    with pytest.raises(UsageError, match=r"no\.such"):
        launch.Layout.of(1, "no.such.host.invalid", None, None)
    assert launch.Layout.of(2, "203.0.113.7,127.0.0.1", None, None).ranks == range(2, 4)
