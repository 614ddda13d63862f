"""Pickled weights without running what is in them: Paddle's `.pdparams`, and PyTorch's `.pth` in both of its forms.

A pickle can run code while it is read, so only constructors of arrays are let in, and those are ours (`arrays`);
everything else is refused by name.

`.pdparams` is one pickle of a mapping of names to NumPy arrays. `.pth` since PyTorch 1.6 is a zip file: NAME/data.pkl,
whose tensors refer to their storages by key, and NAME/data/KEY, the storages' bytes. Before, it was a row of pickles
(magic number, protocol, system, content, list of keys) followed by the storages: int64 number of elements, bytes.
"""

from __future__ import annotations

import io
import math
import pickle
import reprlib
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import numpy as np

from qat8.errors import ModelError
from qat8.models.weights import arrays
from qat8.older_python import zip_strict

MOST_BYTES = 8 << 30  # of all arrays of a file when unpacked: VGG19's take 0.6 GB
_STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8",
             "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
             "BFloat16Storage": "<u2"}  # fmt: skip
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class _Unpickler(pickle.Unpickler):
    """Lets in what `allowed` names, and what it gives for the name is ours."""

    allowed: Mapping[tuple[str, str], object] = {}

    def find_class(self, module: str, name: str):
        try:
            found = self.allowed[module, name]
            return arrays.Constructor(found) if callable(found) else found
        except KeyError:
            raise pickle.UnpicklingError(f"it wants to run {module}.{name}") from None


class ArraysOnly(_Unpickler):
    """An unpickler of NumPy arrays in mappings, and of nothing else; see `arrays`."""

    allowed = arrays.ALLOWED


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage, whose bytes may still be to come. Sizes and strides are in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, content: bytes) -> np.ndarray:
        if self.storage.dtype not in _STORAGES.values():
            raise ValueError("a storage of no numbers")
        elements = np.frombuffer(content, np.dtype(self.storage.dtype))
        if not all(isinstance(n, int) and n >= 0 for n in (self.offset, *self.shape, *self.strides)):
            raise ValueError("a tensor with negative sizes")
        if math.prod(self.shape) > len(elements):  # a stride of 0 would make much of little
            raise ValueError("a tensor that is larger than its storage")
        last = self.offset + sum((n - 1) * s for n, s in zip_strict(self.shape, self.strides))
        if 0 not in self.shape and last >= len(elements):
            raise ValueError("a tensor that reaches beyond its storage")
        view = np.lib.stride_tricks.as_strided(
            elements[self.offset :], self.shape, [s * elements.itemsize for s in self.strides], writeable=False
        )
        if self.storage.dtype == "<u2":  # bfloat16 is the upper half of a float32
            return (view.astype(np.uint32) << 16).view(np.float32)
        return np.array(view)


def _rebuild_tensor(storage, offset, shape, strides, *_) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _TorchOnly(_Unpickler):
    """An unpickler of PyTorch's tensors in mappings, and of nothing else."""

    allowed = MappingProxyType({
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        ("collections", "OrderedDict"): OrderedDict,
        **{("torch", name): dtype for name, dtype in _STORAGES.items()},
    })  # fmt: skip

    def persistent_load(self, reference):
        kind, dtype, key, _, count, *view = reference
        if kind != "storage" or dtype not in _STORAGES.values() or any(view):
            raise pickle.UnpicklingError(f"a reference that is no storage: {reprlib.repr(reference):.60}")
        return _Storage(dtype, str(key), count)


def require_room(archive: zipfile.ZipFile) -> None:
    """
    Raises:
        ValueError: unpacked, it would be larger than any weights: a few kilobytes can hold terabytes of zeros.
    """
    size = sum(member.file_size for member in archive.infolist())
    if size > MOST_BYTES:
        raise ValueError(f"{size:,} bytes when unpacked, over the limit of {MOST_BYTES:,}")


def read_pdparams(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.pdparams`, by name."""
    with open(path, "rb") as f:
        arrays.require_modest(f)
        content = ArraysOnly(f, encoding="latin1").load()
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds a {type(content).__name__}", "a mapping of names to arrays")
    content.pop("StructuredToParameterName@@", None)
    return {name: arrays.value(item) for name, item in content.items()}


def read_pth(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict that `torch.save` wrote, by name; a mapping around it with `state_dict` is opened."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            content, storages = _from_zip(archive)
    else:
        with open(path, "rb") as f:
            content, storages = _from_row(f)
    if isinstance(content, dict):
        for key in ("state_dict", "model", "model_state_dict"):
            content = content[key] if isinstance(content.get(key), dict) else content
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds a {type(content).__name__}", "a state dict, as torch.save(model.state_dict())")
    found = {str(name): value for name, value in content.items() if isinstance(value, _Tensor)}
    return {name.removeprefix("module."): t.array(storages[t.storage.key]) for name, t in found.items()}


def is_torch(path: Path) -> bool:
    """Whether `path` is a zip file with a data.pkl in it, or begins as PyTorch's older form does."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    with open(path, "rb") as f:
        return f.read(14)[4:] == _LEGACY_MAGIC.to_bytes(10, "little")  # behind the opcodes of protocol 2 and LONG1


def _from_zip(archive: zipfile.ZipFile):
    (pickled,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
    root = pickled.removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise ValueError("big-endian storages")
    require_room(archive)
    f = io.BytesIO(archive.read(pickled))
    arrays.require_modest(f)
    content = _TorchOnly(f, encoding="utf-8").load()
    data = f"{root}data/"
    return content, {n.removeprefix(data): archive.read(n) for n in archive.namelist() if n.startswith(data)}


def _from_row(f: BinaryIO):
    arrays.require_modest(f, 5)
    if _TorchOnly(f).load() != _LEGACY_MAGIC:
        raise ValueError("no file of torch.save")
    _TorchOnly(f).load()  # protocol
    system = _TorchOnly(f).load()
    if not system.get("little_endian", True):
        raise ValueError("big-endian storages")
    reader = _Recording(f)
    content = reader.load()
    keys, storages = _TorchOnly(f).load(), {}
    for key in map(str, keys):
        (count,) = struct.unpack("<q", f.read(8))
        size = count * np.dtype(reader.dtypes[key]).itemsize
        storages[key] = f.read(size)
        if count < 0 or len(storages[key]) != size:
            raise ValueError("a storage that is cut off")
    return content, storages


class _Recording(_TorchOnly):
    """Remembers each storage's data type, which the row's storages do not tell of themselves."""

    def __init__(self, f: BinaryIO) -> None:
        super().__init__(f, encoding="utf-8")
        self.dtypes: dict[str, str] = {}

    def persistent_load(self, reference):
        storage = super().persistent_load(reference)
        self.dtypes[storage.key] = storage.dtype
        return storage
