"""What oneDNN says of itself and of the kernels that it runs, in its verbose log (ONEDNN_VERBOSE=1).

Format: oneDNN Developer Guide, "Verbose Mode": comma-separated, `onednn_verbose,info,...` lines first, then a line per
executed primitive with its implementation and data types.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from qat8.profiling.log import Primitive, parse_line
from qat8.profiling.operations import operations

_PREFIX = r"^(?:one)?dnn(?:l)?_verbose,"
_INFO = {
    "version": r"info,(?:oneDNN|DNNL) v(\S+)",
    "commit": r"info,(?:oneDNN|DNNL) v\S+ \(commit (\w+)\)",
    "isa": r"info,cpu,isa:(.+)",
    "runtime": r"info,cpu,runtime:([^,\s]+)",
}

_SOURCE = {"int8": r"src_[us]8", "bf16": r"src_bf16"}  # what such a convolution reads


class Kernels(NamedTuple):
    """The convolutions of one batch: how many ran in INT8 (BF16), how many there were, the former's implementations."""

    quantized: int
    total: int
    names: list[str]


def library(log: str) -> dict[str, str]:
    """version, commit, isa (the instructions that oneDNN dispatches to on this CPU, in its words), runtime."""
    found = {name: re.search(_PREFIX + pattern, log, re.MULTILINE) for name, pattern in _INFO.items()}
    return {name: match[1].strip() for name, match in found.items() if match}


def convolutions(log: str, precision: str = "int8") -> Kernels:
    """An implementation's name ends with the instructions it is made of: `brgconv_1x1:avx512_core_vnni`."""
    ran = re.findall(_PREFIX + r"exec,cpu,convolution,([^,]+),[^,]*,(\S*)", log, re.MULTILINE)
    quantized = [kernel for kernel, types in ran if re.search(_SOURCE[precision], types)]
    return Kernels(len(quantized), len(ran), sorted(set(quantized)))


class Seen(NamedTuple):
    """What one batch's log tells."""

    kernels: Kernels
    library: dict[str, str]
    operations: int  # multiplications and additions of everything that was executed


def read(log: str, precision: str = "int8") -> Seen:
    return Seen(convolutions(log, precision), library(log), _operations(log))


def _operations(log: str) -> int:
    executed = map(parse_line, log.splitlines())
    return sum(operations(each) or 0 for each in executed if isinstance(each, Primitive))
