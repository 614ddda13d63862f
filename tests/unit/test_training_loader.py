"""The loader: the same bytes whoever makes them, each process its part, and failures that are told."""

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from qat8 import config as configuration
from qat8 import imaging
from qat8.errors import DataError, MachineError
from qat8.training import loader
from qat8.training.images import Images
from qat8.training.loader import Loader

SPEC = dataclasses.replace(imaging.SYMMETRIC, crop=24)


def read(directory, **settings) -> Images:
    return Images.read(directory, SPEC, configuration.load(overrides={"validation.fraction": "0.1", **settings}), 1000)


@pytest.fixture
def images(photographs) -> Images:
    return read(photographs(20, "train"))  # 18 to train: batches of 4 leave 2 over


def content(batches) -> list[tuple[bytes, bytes, float]]:
    return [(b.images.tobytes(), b.labels.tobytes(), b.share) for b in batches]


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_make_the_bytes_that_threads_make(images, workers):
    expected = [content(Loader(images, 4).epoch(epoch, first)) for epoch, first in ((0, 0), (1, 0), (1, 3))]
    with Loader(images, 4, workers) as made:
        assert [content(made.epoch(epoch, first)) for epoch, first in ((0, 0), (1, 0), (1, 3))] == expected
    assert len(expected[0]) == 5 and expected[0] != expected[1]


def test_an_epoch_that_is_left_early_does_not_harm_the_next(images):
    with Loader(images, 4, 2) as made:
        left = made.epoch(0)
        next(left)
        left.close()
        assert content(made.epoch(1)) == content(Loader(images, 4).epoch(1))


@pytest.mark.parametrize("size", [2, 3])
def test_the_processes_of_a_training_see_together_what_one_would_see(images, size):
    whole = list(Loader(images, 4).epoch(0))
    parts = [list(Loader(images, 4, 0, rank, size).epoch(0)) for rank in range(size)]
    for i, batch in enumerate(whole):
        seen = [p[i].images[j].tobytes() for p in parts for j in range(len(p[i].images)) if p[i].share]
        assert sorted(seen) == sorted(x.tobytes() for x in batch.images)
        assert sum(p[i].share for p in parts) == pytest.approx(1)


def test_a_process_without_an_image_in_the_last_batch_gets_one_that_does_not_count(images):
    last = [list(Loader(images, 4, 0, rank, 3).epoch(0))[-1] for rank in range(3)]  # 2 images for 3
    assert [batch.share for batch in last] == [0.5, 0.5, 0]
    assert np.array_equal(last[2].images, last[0].images)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named(images, workers):
    images.train[7][0].write_bytes(b"no photograph")
    with (
        pytest.raises(DataError, match=f"{images.train[7][0]}: not a readable image"),
        Loader(images, 4, workers) as made,
    ):
        list(made.epoch(0))


def children() -> list[int]:
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in map(int, listed) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_killed_process_ends_the_training_with_the_cause(images):
    with pytest.raises(MachineError, match="reads training images was killed"), Loader(images, 4, 1) as made:
        batches = made.epoch(0)
        next(batches)
        os.kill(children()[0], signal.SIGKILL)
        list(itertools.chain(batches, made.epoch(1)))


def test_without_shared_memory_the_loader_says_what_to_do(images, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loader.shared_memory, "SharedMemory", full)
    with pytest.raises(MachineError, match=r"No space left.*--loader\.workers"):
        Loader(images, 4, 1)


PARENT = """
import sys, dataclasses
sys.path.insert(0, {here!r})
if __name__ == "__main__":
    from pathlib import Path
    import test_training_loader as t
    with t.Loader(t.read(Path({data!r})), 4, 2) as made:
        batches = made.epoch(0)
        next(batches)
        print(*t.children(), flush=True)
        sys.stdin.read()
"""


def test_no_process_and_no_shared_memory_outlives_a_killed_training(images, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(here=str(Path(__file__).parent), data=str(images.train[0][0].parents[1])))
    before = set(os.listdir("/dev/shm"))
    parent = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2 and set(os.listdir("/dev/shm")) - before
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers) or set(os.listdir("/dev/shm")) - before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("setting", "count", "expected"), [("auto", 10, 0), ("auto", 5000, 1), (3, 10, 3), (0, 5000, 0)]
)
def test_processes_are_for_long_lists(images, setting, count, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    long = dataclasses.replace(images, train=images.train[:1] * count)
    assert loader.workers(setting, long) == expected
