"""Whether a data file was made for a model."""

from __future__ import annotations

from pathlib import Path

from qat8 import artifacts, datafile, imaging, manifests
from qat8.errors import DataError


def require(model: Path, data: Path, name: str = "...") -> int:
    """The number of images in `data`.

    Args:
        name: of the model, for the advice.

    Raises:
        DataError: not a data file, or preprocessed otherwise than `model` was trained.
    """
    with datafile.Reader(data) as reader:
        wanted, given = manifests.preprocessing_of(model), reader.header.fingerprint
        if wanted and given and not imaging.same_pixels(wanted, given):
            raise DataError(
                f"{data} was preprocessed otherwise than {artifacts.shown(model)} was trained",
                ", ".join(f"{key} {wanted.get(key)}" for key in ("filter", "mean", "std")),
                f"inv preprocess --model={name}",
            )
        return len(reader)
