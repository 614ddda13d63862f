"""What Python 3.10 and 3.11 brought and 3.9, on which qat8 runs too, has not: to be imported from here.

`require` is for what cannot be had on an older one. Syntax has no such place: ruff's `target-version` refuses what 3.9
cannot read.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from qat8.errors import MachineError

__all__ = ["file_digest", "pairwise", "require", "tomllib", "zip_strict"]

VERSION = sys.version_info[:2]
_PIECE = 1 << 18  # bytes, as hashlib.file_digest reads
_END = object()


def require(what: str, least: tuple[int, int], why: str) -> None:
    """
    Raises:
        MachineError: this Python is older than `least`, which `what` needs.
    """
    if least > VERSION:
        ours, wanted = (".".join(map(str, version)) for version in (VERSION, least))
        raise MachineError(f"{what} with Python {ours}", f"{wanted} or newer: {why}",
                           "PYTHON=/path/to/python3.11 make setup")  # fmt: skip


if sys.version_info >= (3, 11):
    from hashlib import file_digest

    import tomllib
else:
    import tomli as tomllib

    def file_digest(file: BinaryIO, algorithm: str):
        """hashlib's hash object of the rest of an open binary file, read piece by piece."""
        digest, buffer = hashlib.new(algorithm), memoryview(bytearray(_PIECE))
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
        return digest


if sys.version_info >= (3, 10):
    from itertools import pairwise

    zip_strict = functools.partial(zip, strict=True)
else:

    def pairwise(items: Iterable) -> Iterator[tuple]:
        """(first, second), (second, third) and so on."""
        left, right = itertools.tee(items)
        next(right, None)
        return zip(left, right)

    def zip_strict(*iterables: Iterable) -> Iterator[tuple]:
        """zip(..., strict=True).

        Raises:
            ValueError: one ends before another: at once where all have a length, else when it is reached.
        """
        if not all(hasattr(each, "__len__") for each in iterables):
            return _zip_to_the_end(*iterables)
        if len({len(each) for each in iterables}) > 1:
            raise ValueError(f"zip_strict(): lengths {[len(each) for each in iterables]}")
        return zip(*iterables)

    def _zip_to_the_end(*iterables: Iterable) -> Iterator[tuple]:
        for items in itertools.zip_longest(*iterables, fillvalue=_END):
            if any(item is _END for item in items):
                raise ValueError("zip_strict(): one argument is shorter than another")
            yield items
