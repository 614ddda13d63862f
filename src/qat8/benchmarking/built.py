"""Whether the C++ testers are built, and from the sources that are there now: others would be measured in silence."""

from __future__ import annotations

import hashlib
from pathlib import Path

from qat8 import artifacts
from qat8.errors import MachineError

SOURCES = ("*.cc", "*.h", "CMakeLists.txt", "cmake/*.cmake", "engine/*.cc", "engine/*.h", "wheel_abi/*.h")
STAMP = "sources.sha256"  # beside the programs; tester/cmake/sources.cmake writes it after every build


def digest(directory: Path) -> str:
    """SHA-256 of the lines `SHA256  NAME` of all sources, by name, as `sha256sum` prints them."""
    names = sorted(str(f.relative_to(directory)) for pattern in SOURCES for f in directory.glob(pattern))
    sums = "".join(f"{hashlib.sha256((directory / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    return hashlib.sha256(sums.encode()).hexdigest()


def require(program: Path, directory: Path) -> None:
    """`program` of the testers of `directory`, where an image has no sources: what is in it was built with it.

    Raises:
        MachineError: not built, or from other sources than those of `directory`.
    """
    if not program.is_file():
        raise MachineError(f"{artifacts.shown(program)} is not built", next_step="inv build.tester")
    if not program.is_relative_to(directory) or not (directory / "CMakeLists.txt").is_file():
        return
    stamp = program.parent / STAMP
    if not stamp.is_file() or stamp.read_text().strip() != digest(directory):
        raise MachineError(f"{artifacts.shown(program)} was built from other sources than {artifacts.shown(directory)} "
                           "has now", "the same", "inv build.tester")  # fmt: skip
