"""Keras's HDF5 files, by h5py: a whole model (`model.save`) or weights alone, of Keras 1 to 3.

The tensors are named LAYER/KIND, whatever the file's groups are: kind is kernel, depthwise_kernel, bias, gamma, beta,
moving_mean or moving_variance. Keras 3's `.weights.h5` numbers a layer's arrays (`vars/0`) instead of naming them, and
the kind is told from their count.
"""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np

from qat8.models.weights.pickles import MOST_BYTES

_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_OLD = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}


def read(path: Path) -> tuple[dict[str, np.ndarray], int]:
    """(LAYER/KIND -> array, number of the optimizer's arrays, which are left out)."""
    with h5py.File(path, "r") as file:
        for name in ("model_weights", "optimizer_weights", "optimizer"):
            if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
                raise ValueError(f"{name} lies in another file")
        left_out = _count(file.get("optimizer_weights")) + _count(file.get("optimizer"))
        root = file.get("model_weights", file)
        arrays: dict[str, np.ndarray] = {}
        size: list[int] = []

        def visit(name: str, item) -> None:
            outside = name.startswith(("optimizer_weights/", "optimizer/"))
            if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and not outside:
                _require_here(name, item)
                size.append(item.nbytes)
                if sum(size) > MOST_BYTES:  # compressed, and what was never written takes no room in the file
                    raise ValueError(f"over {MOST_BYTES:,} bytes of arrays")
                arrays[name] = item[()]

        root.visititems(visit)
    return _named(arrays), left_out


def _require_here(name: str, item: h5py.Dataset) -> None:
    """HDF5 can say that an array lies in another file, whichever that is."""
    if item.external or item.is_virtual:
        raise ValueError(f"{name} lies in another file")


def _count(group) -> int:
    found = []
    if group is not None:
        group.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return len(found)


def _named(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    named = {}
    for path, array in arrays.items():
        *groups, last = [part for part in path.split("/") if part not in ("layers", "_layer_checkpoint_dependencies")]
        if groups and groups[-1] == "vars":
            count = sum(other.startswith(path.rpartition("/")[0] + "/") for other in arrays)
            layer, kind = _layer(groups[:-1]), _kind(int(last), count)
        else:
            layer, kind = (groups[-1] if groups else ""), _plain(last)
        key = f"{layer}/{kind}"
        if key in named:
            raise ValueError(f"two arrays are {key}")
        named[key] = array
    return named


def _kind(number: int, count: int) -> str:
    return _NORM[number] if count == 4 else ("kernel", "bias")[number]


def _layer(groups: list[str]) -> str:
    """`block1/conv2d_1` -> block1_conv2, as keras.applications calls it; else the last group."""
    match = re.fullmatch(r"block(\d+)/conv2d(?:_(\d+))?", "/".join(groups[-2:]))
    return f"block{match[1]}_conv{int(match[2] or 0) + 1}" if match else "/".join(groups)


def _plain(name: str) -> str:
    """`kernel:0` -> kernel; Keras 1's `conv1_1_W_1:0` -> kernel."""
    name = name.partition(":")[0]
    old = re.search(r"_(W|b|gamma|beta|running_mean|running_std)(?:_\d+)?$", name)
    return _OLD.get(old[1], old[1]) if old else name
