"""Paddle 1.x's older form of saved parameters: a directory with a file per parameter, its name the parameter's.

`fluid.io.save_params(dirname=...)` without a file name, and many models of PaddleSlim's and PaddleCV's model zoos, are
such directories. A file holds one LoDTensor, little endian (Paddle, doc/design/model_format.md, and
SerializeToStream/TensorToStream in its lod_tensor.cc and tensor_util.cc)::

    uint32  version of the LoDTensor = 0
    uint64  number of levels of the LoD (0 for parameters)
              each: uint64 size in bytes, the level's offsets
    uint32  version of the tensor = 0
    int32   size in bytes of its description
            description: protobuf VarType.TensorDesc {1: data type (enum), 2: repeated int64 dims}
            data, dims[0] x dims[1] x ... numbers

Data types that weights can have: 3 int64, 4 float16, 5 float32, 6 float64, 2 int32, 20 uint8, 21 int8, 22 bfloat16.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from pathlib import Path

import numpy as np

_DTYPES = {2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8", 20: "u1", 21: "i1", 22: "<u2"}
_BFLOAT16 = 22
_NOT_TENSORS = ("__model__", "__params__")  # the program, and all parameters in one file without names


def read_tensor(path: Path) -> np.ndarray:
    """The tensor of one file.

    Raises:
        ValueError: it is cut off, too long, or not of this layout.
    """
    content = memoryview(Path(path).read_bytes())
    code, shape, start = _header(content, 0)
    dtype, data = np.dtype(_DTYPES[code]), content[start:]
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(data)} bytes of data for {shape} numbers of {dtype.itemsize} bytes")
    array = np.frombuffer(data, dtype).reshape(shape)
    return (array.astype(np.uint32) << 16).view(np.float32) if code == _BFLOAT16 else np.array(array)


def count(path: Path) -> int:
    """The number of LoDTensors that lie behind one another in a file, as Paddle saves all parameters in one.

    Raises:
        ValueError: the last one is cut off, or something is none.
    """
    found = at = 0
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) if size else memoryview(b"") as content:
            while at < size:
                code, shape, start = _header(content, at)
                at = start + math.prod(shape) * np.dtype(_DTYPES[code]).itemsize
                found += 1
    if at != size:
        raise ValueError(f"tensor {found} is cut off")
    return found


def _header(content, at: int) -> tuple[int, list[int], int]:
    """Data type, shape, and where the data begin, of the LoDTensor at this offset."""
    try:
        version, levels = struct.unpack_from("<IQ", content, at)
        at += 12
        for _ in range(levels):
            (size,) = struct.unpack_from("<Q", content, at)
            at += 8 + size
            if at > len(content):
                raise ValueError("its LoD is cut off")
        tensor_version, length = struct.unpack_from("<Ii", content, at)
    except struct.error:
        raise ValueError("no LoDTensor: it is too short") from None
    if version or tensor_version or length < 0 or at + 8 + length > len(content):
        raise ValueError("no LoDTensor of version 0")
    code, shape = _description(bytes(content[at + 8 : at + 8 + length]))
    return code, shape, at + 8 + length


def _description(text: bytes) -> tuple[int, list[int]]:
    """Data type and shape of a TensorDesc: field 1 a varint; field 2 varints, each by itself or packed."""
    code, shape, at = None, [], 0
    while at < len(text):
        tag, at = _varint(text, at)
        if tag == 1 << 3:
            code, at = _varint(text, at)
        elif tag == 2 << 3:
            size, at = _varint(text, at)
            shape.append(size)
        elif tag == (2 << 3) | 2:
            length, at = _varint(text, at)
            end = at + length
            while at < end:
                size, at = _varint(text, at)
                shape.append(size)
        else:
            raise ValueError(f"no TensorDesc: field {tag >> 3}")
    if code not in _DTYPES:
        raise ValueError(f"data type {code} is none of weights")
    return code, shape


def _varint(text: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(text):
            raise ValueError("its description is cut off")
        value |= (text[at] & 0x7F) << shift
        at += 1
        if not text[at - 1] & 0x80:
            return value, at
    raise ValueError("its description holds no number")


def read_directory(path: Path) -> dict[str, np.ndarray]:
    """Parameter name -> array, of every file.

    Raises:
        ValueError: a file is no LoDTensor; it is named.
    """
    found = {}
    for file in sorted(p for p in Path(path).iterdir() if p.is_file() and p.name not in _NOT_TENSORS):
        try:
            found[file.name] = read_tensor(file)
        except ValueError as e:
            raise ValueError(f"{file.name}: {e}") from None
    return found


def is_directory_of_tensors(path: Path) -> bool:
    """Whether a directory holds at least one file that begins as a parameter's LoDTensor does."""
    for file in (p for p in Path(path).iterdir() if p.is_file() and p.name not in _NOT_TENSORS):
        with open(file, "rb") as f:
            if f.read(16) == bytes(16):  # versions 0, no LoD
                return True
    return False
