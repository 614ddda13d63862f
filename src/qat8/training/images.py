"""Training images: the list split into two parts, the order of an epoch, and the held-out part as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qat8 import config, imaging, labels
from qat8.errors import DataError
from qat8.training.augmentation import Recipe

Batch = tuple[np.ndarray, np.ndarray]  # float32 [n, 3, H, W], int64 [n, 1]
Entry = tuple[Path, int]


@dataclass(frozen=True)
class Images:
    """`train` and `validation` never share an image."""

    train: list[Entry]
    validation: list[Entry]
    recipe: Recipe

    @classmethod
    def read(
        cls, data_dir: Path, spec: imaging.Preprocessing, settings: config.TrainConfig, classes: int
    ) -> Images:  # fmt: skip
        """data_dir/train_list.txt, split by the seed; whole, when `validation.label_list` names the other part.

        Raises:
            DataError: no list, a missing image, an image in both lists, or too few images for two parts.
        """
        recipe = Recipe(spec, settings.augmentation, settings.seed)
        entries = _listed(data_dir, "train_list.txt", classes)
        if other := settings.validation.label_list:
            validation = _listed(data_dir, other, classes)
            if both := {path for path, _ in entries} & {path for path, _ in validation}:
                raise DataError(f"{min(both)} is in train_list.txt and in {other}", "two lists that share no image")
            return cls(entries, validation, recipe)
        held = max(1, round(len(entries) * settings.validation.fraction))
        if len(entries) <= held:
            raise DataError(f"{data_dir}/train_list.txt names {len(entries)} images", "at least 2")
        order = np.random.default_rng([settings.seed, 0]).permutation(len(entries))
        shuffled = [entries[i] for i in order]
        return cls(shuffled[held:], shuffled[:held], recipe)

    def steps_per_epoch(self, batch_size: int) -> int:
        return -(-len(self.train) // batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """Places in `train`, each once, int64 [len(train)]."""
        return np.random.default_rng([self.recipe.seed, 1, epoch]).permutation(len(self.train))

    def plain(self, entries: list[Entry], batch_size: int) -> Iterator[Batch]:
        """Centre crops, in the list's order, as the data file holds them."""
        spec = self.recipe.preprocessing
        for start in range(0, len(entries), batch_size):
            part = entries[start : start + batch_size]
            images = [self.recipe.normalise(imaging.preprocess(path, spec)) for path, _ in part]
            yield np.stack(images), column([label for _, label in part])


def _listed(data_dir: Path, name: str, classes: int) -> list[Entry]:
    entries = labels.read(data_dir, data_dir / name, classes)
    for path, _ in entries:
        if not path.is_file():
            raise DataError(f"{path}: no such image", f"every image that {name} names")
    return entries


def column(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64)[:, None]
