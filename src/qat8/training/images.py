"""Training images: a list split into two parts, batches that depend on the seed, the epoch and the position alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qat8 import datafile, imaging, labels
from qat8.errors import DataError

Batch = tuple[np.ndarray, np.ndarray]  # float32 [n, 3, H, W], int64 [n, 1]
_THREADS = 2  # Pillow decodes without the interpreter's lock; training itself keeps the cores busy


@dataclass(frozen=True)
class Images:
    """`train` and `validation` never share an image."""

    train: list[tuple[Path, int]]
    validation: list[tuple[Path, int]]
    preprocessing: imaging.Preprocessing
    seed: int

    @classmethod
    def read(cls, data_dir: Path, spec: imaging.Preprocessing, fraction: float, seed: int, classes: int) -> Images:
        """Split data_dir/train_list.txt by the seed.

        Raises:
            DataError: no list, a missing image, or too few images for two parts.
        """
        entries = labels.read(data_dir, data_dir / "train_list.txt", classes)
        for path, _ in entries:
            if not path.is_file():
                raise DataError(f"{path}: no such image", "every image that train_list.txt names")
        held = max(1, round(len(entries) * fraction))
        if len(entries) <= held:
            raise DataError(f"{data_dir}/train_list.txt names {len(entries)} images", "at least 2")
        order = np.random.default_rng([seed, 0]).permutation(len(entries))
        shuffled = [entries[i] for i in order]
        return cls(shuffled[held:], shuffled[:held], spec, seed)

    def steps_per_epoch(self, batch_size: int) -> int:
        return -(-len(self.train) // batch_size)

    def augmented(self, epoch: int, batch_size: int, first: int = 0) -> Iterator[Batch]:
        """One epoch's batches from the `first` on: shuffled, random crop of the resized image, random mirror."""
        order = np.random.default_rng([self.seed, 1, epoch]).permutation(len(self.train))
        with ThreadPoolExecutor(_THREADS) as pool:
            for start in range(first * batch_size, len(order), batch_size):
                chosen = [int(i) for i in order[start : start + batch_size]]
                images = pool.map(lambda i: self._augment(i, epoch), chosen)
                yield np.stack(list(images)), _labels([self.train[i] for i in chosen])

    def _augment(self, index: int, epoch: int) -> np.ndarray:
        random = np.random.default_rng([self.seed, 2, epoch, index])
        image = imaging.decode(self.train[index][0], self.preprocessing)
        side = self.preprocessing.crop
        left, top = (int(random.integers(0, extent - side + 1)) for extent in image.size)
        pixels = imaging.crop(image, left, top, side)
        return self._normalise(pixels[:, :, ::-1] if random.random() < 0.5 else pixels)

    def plain(self, entries: list[tuple[Path, int]], batch_size: int) -> Iterator[Batch]:
        """Centre crops, in the list's order, as the data file holds them."""
        for start in range(0, len(entries), batch_size):
            part = entries[start : start + batch_size]
            images = [self._normalise(imaging.preprocess(path, self.preprocessing)) for path, _ in part]
            yield np.stack(images), _labels(part)

    def _normalise(self, pixels: np.ndarray) -> np.ndarray:
        return datafile.normalise(pixels, self.preprocessing.mean, self.preprocessing.std)


def _labels(entries: list[tuple[Path, int]]) -> np.ndarray:
    return np.array([label for _, label in entries], np.int64)[:, None]
