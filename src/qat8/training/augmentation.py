"""What chance does to a training image. It depends on the seed, the epoch and the image alone, not on who reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from qat8 import datafile, imaging
from qat8.config import Augmentation

_RATIOS = (math.log(3 / 4), math.log(4 / 3))  # of a random resized crop's sides (Szegedy et al. 2015, section 6)
_TRIES = 10


@dataclass(frozen=True)
class Recipe:
    """All that a process needs to make training images: small, so that it can be sent to one."""

    preprocessing: imaging.Preprocessing
    augmentation: Augmentation
    seed: int

    def __call__(self, path: Path, index: int, epoch: int) -> np.ndarray:
        """The image as float32 [3, crop, crop], normalised. `index` is its place in the training list."""
        random = np.random.default_rng([self.seed, 2, epoch, index])
        if self.augmentation.crop == "random_resized":
            pixels = self._random_resized(imaging.decode_whole(path, self.preprocessing), random)
        else:
            pixels = self._random_offset(imaging.decode(path, self.preprocessing), random)
        if self.augmentation.mirror and random.random() < 0.5:
            pixels = pixels[:, :, ::-1]
        return self.normalise(pixels)

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        return datafile.normalise(pixels, self.preprocessing.mean, self.preprocessing.std)

    def _random_offset(self, image: Image.Image, random: np.random.Generator) -> np.ndarray:
        side = self.preprocessing.crop
        left, top = (int(random.integers(0, extent - side + 1)) for extent in image.size)
        return imaging.crop(image, left, top, side)

    def _random_resized(self, image: Image.Image, random: np.random.Generator) -> np.ndarray:
        side = self.preprocessing.crop
        box = _window(image.size, self.augmentation.min_area, random)
        resized = image.resize((side, side), imaging.FILTERS[self.preprocessing.filter], box)
        return imaging.crop(resized, 0, 0, side)


def _window(size: tuple[int, int], min_area: float, random: np.random.Generator) -> tuple[int, int, int, int]:
    """A window of `min_area` to all of the image's area and sides of 3:4 to 4:3; the largest square where none fits."""
    width, height = size
    for _ in range(_TRIES):
        area = width * height * random.uniform(min_area, 1)
        ratio = math.exp(random.uniform(*_RATIOS))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(random.integers(0, width - w + 1)), int(random.integers(0, height - h + 1))
            return left, top, left + w, top + h
    side = min(size)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side
