"""Pretrained weights, read as arrays: `weights.npz` (what `inv weights` writes) or Paddle's `.pdparams`.

A `.pdparams` is a pickle, and a pickle can run code while it is read; so only the few constructors of NumPy arrays are
let in, everything else is refused by name.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np

from qat8.errors import ModelError

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "scalar"),
    ("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict"), ("_codecs", "encode"),
}  # fmt: skip


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it wants to run {module}.{name}")
        return super().find_class(module.replace("numpy._core", "numpy.core"), name)


def read(path: Path) -> dict[str, np.ndarray]:
    """State name -> float32 array. `path` is the file or the directory of an `inv weights` artifact.

    Raises:
        ModelError: missing, neither format, or a pickle that holds more than arrays.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "weights.npz"
    if not path.is_file():
        raise ModelError(f"{path}: no such file", "pretrained weights, weights.npz or *.pdparams")
    try:
        if zipfile.is_zipfile(path):
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        with open(path, "rb") as f:
            content = _ArraysOnly(f, encoding="latin1").load()
    except Exception as e:  # damage in a pickle can raise anything
        raise ModelError(f"{path}: not weights ({e})", "weights.npz or *.pdparams with arrays only") from e
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds a {type(content).__name__}", "a mapping of names to arrays")
    content.pop("StructuredToParameterName@@", None)
    for name, value in content.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise ModelError(f"{path}: {name} holds no numbers", "a mapping of names to arrays")
    return content


def check(state: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], path: Path) -> None:
    """Refuse weights that do not fit the model name by name and shape by shape.

    Raises:
        ModelError: the first misfit and how many there are.
    """
    bad = [f"{name} is missing" for name in shapes if name not in state]
    bad += [f"{name} is not the model's" for name in state if name not in shapes]
    both = shapes.keys() & state.keys()
    bad += [f"{n}: {list(state[n].shape)}, not {list(shapes[n])}" for n in sorted(both) if state[n].shape != shapes[n]]
    bad += [f"{n}: not finite numbers" for n in sorted(both) if not np.isfinite(state[n]).all()]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise ModelError(f"{path} does not fit the model: {bad[0]}{more}", "weights of this very model")
