"""Training images: the split, and batches that depend on the seed, the epoch and the position alone."""

import dataclasses
import itertools

import numpy as np
import pytest

from qat8 import config as configuration
from qat8 import datafile, imaging
from qat8.errors import DataError
from qat8.older_python import zip_strict
from qat8.training.images import Images
from qat8.training.loader import Loader

SPEC = dataclasses.replace(imaging.SYMMETRIC, crop=28)


@pytest.fixture
def data_dir(photographs):
    return photographs(10, "train")


def read(data_dir, fraction=0.3, seed=0) -> Images:
    settings = configuration.load(overrides={"validation.fraction": str(fraction), "seed": str(seed)})
    return Images.read(data_dir, SPEC, settings, 1000)


def batches(images: Images, epoch: int = 0, size: int = 3, first: int = 0) -> list[bytes]:
    return [b.images.tobytes() + b.labels.tobytes() for b in Loader(images, size).epoch(epoch, first)]


def test_the_two_parts_share_no_image_and_leave_none_out(data_dir):
    images = read(data_dir)
    assert (len(images.train), len(images.validation)) == (7, 3)
    assert sorted(p.name for p, _ in images.train + images.validation) == sorted(f"{i}.jpg" for i in range(10))
    assert all(label == int(path.stem) for path, label in images.train + images.validation)


def test_the_split_is_the_seeds(data_dir):
    assert read(data_dir, seed=1) == read(data_dir, seed=1)
    splits = {tuple(p.name for p, _ in read(data_dir, seed=s).validation) for s in range(5)}
    assert len(splits) > 1


@pytest.mark.parametrize(("fraction", "held"), [(0.001, 1), (0.5, 5), (0.9, 9)])
def test_at_least_one_image_is_held_out_and_one_is_left(data_dir, fraction, held):
    assert len(read(data_dir, fraction).validation) == held


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.2), (2, 0.99)])
def test_too_few_images_for_two_parts_are_refused(photographs, count, fraction):
    with pytest.raises(DataError, match=rf"train_list\.txt names {count} images; expected at least 2"):
        read(photographs(count, "train"), fraction)


def test_a_missing_image_is_named(data_dir):
    (data_dir / "train/4.jpg").unlink()
    with pytest.raises(DataError, match=r"train/4\.jpg: no such image"):
        read(data_dir)


def test_a_missing_list_is_named(data_dir):
    (data_dir / "train_list.txt").unlink()
    with pytest.raises(DataError, match=r"train_list\.txt: no such label list"):
        read(data_dir)


def test_a_batch_is_what_the_network_takes(data_dir):
    made = Loader(read(data_dir), 3).epoch(0)
    shapes = [(b.images.shape, b.images.dtype, b.labels.shape, b.labels.dtype) for b in made]
    assert shapes == [((n, 3, 28, 28), np.float32, (n, 1), np.int64) for n in (3, 3, 1)]


def test_an_epoch_shows_each_training_image_once(data_dir):
    images = read(data_dir)
    seen = [int(label) for batch in Loader(images, 3).epoch(5) for label in batch.labels.ravel()]
    assert sorted(seen) == sorted(label for _, label in images.train)
    assert images.steps_per_epoch(3) == 3 and images.steps_per_epoch(7) == 1


def test_the_same_seed_gives_the_same_bytes_and_another_seed_or_epoch_others(data_dir):
    reference = batches(read(data_dir, seed=1))
    assert batches(read(data_dir, seed=1)) == reference
    assert batches(read(data_dir, seed=1), epoch=1) != reference
    assert batches(read(data_dir, seed=2)) != reference


@pytest.mark.parametrize("first", range(4))
def test_going_on_in_the_middle_of_an_epoch_gives_the_very_batches_that_were_to_come(data_dir, first):
    images = read(data_dir)
    assert batches(images, 2, first=first) == batches(images, 2)[first:]


def test_crops_and_mirrors_differ_between_epochs_but_show_the_same_photograph(data_dir, monkeypatch):
    images = dataclasses.replace(read(data_dir), train=read(data_dir).train[:1])
    whole = imaging.decode(images.train[0][0], SPEC)
    windows = {
        datafile.normalise(imaging.crop(picture, left, top, 28), SPEC.mean, SPEC.std).tobytes()
        for picture in (whole, whole.transpose(imaging.Image.Transpose.FLIP_LEFT_RIGHT))
        for left, top in itertools.product(range(whole.width - 27), range(whole.height - 27))
    }
    shown = {next(Loader(images, 1).epoch(epoch)).images.tobytes() for epoch in range(20)}
    assert len(shown) > 5 and shown <= windows


def test_plain_batches_are_what_the_data_file_holds_in_the_lists_order(data_dir):
    images = read(data_dir)
    got = list(images.plain(images.validation, 2))
    assert [label for _, y in got for label in y.ravel()] == [label for _, label in images.validation]
    expected = [imaging.preprocess(path, SPEC) for path, _ in images.validation]
    for x, pixels in zip_strict(np.concatenate([x for x, _ in got]), expected):
        assert np.array_equal(x, datafile.normalise(pixels, SPEC.mean, SPEC.std))
