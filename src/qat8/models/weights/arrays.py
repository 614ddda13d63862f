"""NumPy's arrays out of a pickle, without NumPy's own constructors.

`numpy.dtype` takes its state from the pickle as it is. A state that says "these eight bytes are a pointer to a Python
object" makes the interpreter follow, and release, a pointer that the file's author chose: memory corruption by data
alone, although nothing but NumPy was let in. So the names that a pickle of arrays uses lead to the classes below, which
take plain numbers of plain types and check every size.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from types import MappingProxyType
from typing import BinaryIO

import numpy as np

_PLAIN = re.compile(r"[<=|]?(?:[fiu][1248]|f16|b1)")
MOST_NESTED = 20_000  # tuples in one pickle: hashing tuples within tuples goes down the C stack, one frame each
MOST_MEMOS = 1_000_000  # the unpickler makes a table as long as the largest number of a memo says


class Constructor:
    """A function that a pickle may call and do nothing else with: it may not set attributes of ours."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable) -> None:
        object.__setattr__(self, "_make", make)

    def __call__(self, *args):
        return self._make(*args)

    def __setattr__(self, name: str, value) -> None:
        raise pickle.UnpicklingError(f"it wants to change {name}")

    def __setstate__(self, state) -> None:
        raise pickle.UnpicklingError("it wants to change a constructor")


class _DType:
    def __init__(self, name: str, *_) -> None:
        if not isinstance(name, str) or not _PLAIN.fullmatch(name):
            raise pickle.UnpicklingError(f"an array of {str(name)[:20]!r}, not of numbers")
        self.dtype = np.dtype(name)

    def __setstate__(self, state) -> None:
        """(version, byte order, and six fields that only structures, strings and dates have)"""
        _, order, subarray, names, fields, *_ = state
        if order not in ("<", "=", "|", ">") or (subarray, names, fields) != (None, None, None):
            raise pickle.UnpicklingError("an array of structures, not of numbers")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    array: np.ndarray | None = None

    def __setstate__(self, state) -> None:
        """(version, shape, dtype, whether in Fortran's order, bytes)"""
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _DType) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array of no shape or type")
        if isinstance(content, str):  # of Python 2
            content = content.encode("latin1")
        if len(content) != math.prod(shape) * dtype.dtype.itemsize:
            raise pickle.UnpicklingError(f"{len(content)} bytes for an array of {shape}")
        # A copy: the bytes need not be aligned, and cannot be written to.
        self.array = np.frombuffer(content, dtype.dtype).reshape(shape, order="F" if fortran else "C").copy("K")


def _reconstruct(*_) -> _Array:
    return _Array()


def _scalar(dtype: _DType, content: bytes = b"") -> np.generic:
    return np.frombuffer(content, dtype.dtype)[0]


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 spells bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"text in {encoding[:20]!r}")
    return text.encode("latin1")


ALLOWED = MappingProxyType({
    ("numpy", "ndarray"): _Array, ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct, ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar, ("numpy._core.multiarray", "scalar"): _scalar,
    ("collections", "OrderedDict"): OrderedDict, ("_codecs", "encode"): _encode,
})  # fmt: skip


def value(item):
    """What became of an object of the pickle: an array, or the object."""
    return item.array if isinstance(item, _Array) else item


def require_modest(f: BinaryIO, pickles: int = 1) -> None:
    """Look at the next pickles' opcodes, which runs none of them, and go back to where the file stood.

    Raises:
        ValueError: they are no pickles, or would cost memory or stack without bound.
    """
    start = f.tell()
    for _ in range(pickles):
        tuples = 0
        for opcode, argument, _ in pickletools.genops(f):
            tuples += opcode.name.startswith("TUPLE")
            memo = argument if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") else 0
            if tuples > MOST_NESTED or not 0 <= memo <= MOST_MEMOS:
                raise ValueError("a pickle that is made to exhaust the memory or the stack")
    f.seek(start)
