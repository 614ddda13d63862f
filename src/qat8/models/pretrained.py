"""Pretrained weights, read as arrays: `weights.npz` (what `inv weights` writes) or Paddle's `.pdparams`.

Other tools' formats come in by `weights.formats` and `weights.matching`.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from qat8 import manifests
from qat8.console import say
from qat8.errors import ModelError
from qat8.models.weights import formats, matching, pickles


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
            with zipfile.ZipFile(path) as archive:
                pickles.require_room(archive)
            with np.load(path, allow_pickle=False) as arrays:
                content = {name: arrays[name] for name in arrays.files}
        else:
            content = pickles.read_pdparams(path)
    except (ModelError, MemoryError):
        raise
    except Exception as e:  # damage in a pickle can raise anything
        raise ModelError(f"{path}: not weights ({e})", "weights.npz or *.pdparams with arrays only") from e
    for name, value in content.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise ModelError(f"{path}: {name} holds no numbers", "a mapping of names to arrays")
    return content


def load(path: Path, model: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The state of a model from weights of any known format, by name and by shape.

    Raises:
        ModelError: not readable, or it does not fit.
    """
    source = formats.read(path)
    if source.format in ("qat8", "pdparams") and source.tensors.keys() <= shapes.keys():
        return source.tensors
    found = matching.match(source, model, shapes)
    for line in found.lines():
        say(f"  {line}")
    matching.require_whole(found, path)
    return found.state


def origin(path: Path, model: str) -> str:
    """Which variant of the model the weights are made for (`registry.Model.for_weights_of`), "" the row itself."""
    manifest = manifests.read(path) if path.is_dir() else None
    if manifest:
        return manifest.get("origin", "")
    source = formats.read(path)
    return "" if source.format in ("qat8", "pdparams") else matching.origin(source, model)


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
