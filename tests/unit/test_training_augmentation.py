"""What chance does to an image: within its limits, and the seed's alone."""

import dataclasses

import numpy as np
import pytest

from qat8 import config as configuration
from qat8 import datafile, imaging
from qat8.training import augmentation
from qat8.training.augmentation import Recipe

SPEC = dataclasses.replace(imaging.SYMMETRIC, crop=24)


def recipe(seed: int = 0, **settings) -> Recipe:
    overrides = {f"augmentation.{key}": str(value) for key, value in settings.items()}
    return Recipe(SPEC, configuration.load(overrides=overrides).augmentation, seed)


@pytest.mark.parametrize("crop", ["offset", "random_resized"])
def test_an_image_depends_on_seed_epoch_and_place_alone(tmp_path, photograph, crop):
    path = photograph(tmp_path / "a.jpg", 60, 50)
    make = recipe(crop=crop)
    first = make(path, 3, 1)
    assert first.shape == (3, 24, 24) and first.dtype == np.float32
    assert np.array_equal(recipe(crop=crop)(path, 3, 1), first)
    others = [make(path, 3, 2), make(path, 4, 1), recipe(1, crop=crop)(path, 3, 1)]
    assert not any(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("size", [(60, 50), (500, 375), (40, 400), (1, 1), (1000, 2)])
@pytest.mark.parametrize("min_area", [0.08, 0.9])
def test_windows_lie_within_the_image_and_within_the_limits(size, min_area):
    random = np.random.default_rng(0)
    areas = []
    for _ in range(300):
        left, top, right, bottom = augmentation._window(size, min_area, random)
        assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
        areas.append((right - left) * (bottom - top) / (size[0] * size[1]))
    if size == (500, 375):
        smallest = 375**2 / (500 * 375)  # the largest square, where no window of the wanted area fitted
        assert min(min_area, smallest) * 0.98 <= min(areas) < min_area + 0.1 and max(areas) > 0.9


def test_a_random_resized_crop_of_the_whole_image_is_the_resized_image(tmp_path, photograph, monkeypatch):
    path = photograph(tmp_path / "a.png", 48, 48)
    monkeypatch.setattr(augmentation, "_window", lambda size, *_: (0, 0, *size))
    got = recipe(crop="random_resized", mirror=False)(path, 0, 0)
    image = imaging.Image.open(path).convert("RGB").resize((24, 24), imaging.FILTERS["bilinear"])
    expected = np.asarray(image, np.uint8).transpose(2, 0, 1)
    assert np.array_equal(got, datafile.normalise(expected, SPEC.mean, SPEC.std))


def test_half_of_the_images_are_mirrored_unless_it_is_switched_off(tmp_path, photograph):
    path = photograph(tmp_path / "a.png", 28, 28)  # 24 * 256 / 224 is 27: windows differ by 3 at most
    plain = {recipe(mirror=False)(path, i, 0).tobytes() for i in range(100)}
    mirrored = sum(recipe()(path, i, 0).tobytes() not in plain for i in range(100))
    assert len(plain) <= 16 and 30 < mirrored < 70
