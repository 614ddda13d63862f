"""Which format a path holds, and its arrays as the format names them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qat8.errors import ModelError, QatError

KNOWN = "weights.npz, .pdparams, Paddle 1.x's directory of parameters, .safetensors, .pth, .h5, .onnx or a GraphDef .pb"
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Source:
    """The arrays of one file or directory; `nodes` are an ONNX graph's layers, in its order."""

    path: Path
    format: str
    tensors: dict[str, np.ndarray]
    nodes: list = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(path: Path) -> Source:
    """Read weights of any known format, told by their content.

    Raises:
        ModelError: no such path, no known format, or damaged; nothing that a file holds is run.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(f"{path}: no such file", f"pretrained weights: {KNOWN}")
    kind = "weights"
    try:
        kind = _format(path)
        return _READERS[kind](path)
    except (QatError, MemoryError):
        raise
    except Exception as e:  # damage in these formats can raise anything
        raise ModelError(f"{path}: not readable as {kind} ({e})", KNOWN) from e


def _format(path: Path) -> str:
    from qat8.models.weights import lodtensor, pickles

    if path.is_dir():
        if (path / "weights.npz").is_file():
            return "qat8"
        if lodtensor.is_directory_of_tensors(path):
            return "paddle1"
        raise ModelError(f"{path}: a directory without weights", KNOWN)
    with open(path, "rb") as f:
        head = f.read(16)
    if head.startswith(_HDF5):
        return "hdf5"
    if pickles.is_torch(path):
        return "torch"
    if zipfile.is_zipfile(path):
        return "qat8"
    by_suffix = {".onnx": "onnx", ".safetensors": "safetensors", ".pb": "graphdef"}
    return by_suffix.get(path.suffix, "pdparams")


def _qat8(path: Path) -> Source:
    from qat8.models import pretrained

    return Source(path, "qat8" if path.is_dir() or zipfile.is_zipfile(path) else "pdparams", pretrained.read(path))


def _paddle1(path: Path) -> Source:
    from qat8.models.weights import lodtensor

    return Source(path, "paddle1", lodtensor.read_directory(path))


def _torch(path: Path) -> Source:
    from qat8.models.weights import pickles

    return Source(path, "torch", pickles.read_pth(path))


def _safetensors(path: Path) -> Source:
    from safetensors import safe_open

    tensors = {}
    with safe_open(str(path), framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118  (safe_open is no mapping)
            tensors[name] = file.get_tensor(name)
    return Source(path, "safetensors", tensors)


def _hdf5(path: Path) -> Source:
    from qat8.models.weights import hdf5

    tensors, optimizer = hdf5.read(path)
    return Source(path, "hdf5", tensors, notes=[f"{optimizer} arrays of the optimizer left out"] if optimizer else [])


def _onnx(path: Path) -> Source:
    from qat8.models.weights import onnx_graph

    nodes, tensors = onnx_graph.read(path)
    weights = {name: a for name, a in tensors.items() if a.dtype.kind == "f" and a.ndim}  # no limits of a Clip
    return Source(path, "onnx", weights, nodes)


def _graphdef(path: Path) -> Source:
    from qat8.models import tensorflow_weights

    return Source(path, "graphdef", tensorflow_weights.read_constants(path))


_READERS = {"qat8": _qat8, "pdparams": _qat8, "paddle1": _paddle1, "torch": _torch, "safetensors": _safetensors,
            "hdf5": _hdf5, "onnx": _onnx, "graphdef": _graphdef}  # fmt: skip
