"""What the kinds share."""

from __future__ import annotations

import functools
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mutations import damaged

REPO = Path(__file__).resolve().parents[3]
GOLDEN = REPO / "tests" / "golden"
TESTER = REPO / "tester"
BUILD = TESTER / "build"


@functools.cache
def build_testers() -> None:
    """The C++ programs, brought up to date; with the options of tests/cpp, so that nothing is built twice."""
    options = ["-DUSE_GPU=OFF", "-DPADDLE_ROOT=", "-DPADDLE_WHEEL=", "-DUSE_PROFILER=OFF", "-DBUILD_TESTS=ON"]
    options += ["-DWARNINGS_AS_ERRORS=ON", f"-DPADDLE_PYTHON={sys.executable}"]
    for command in (["-S", TESTER, "-B", BUILD, *options], ["--build", BUILD, "-j", "2"]):
        done = subprocess.run(["cmake", *map(str, command)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)


def one_of(seeds: dict[str, bytes], change=damaged) -> Callable[[random.Random, Path], Path]:
    """A `make` that changes one of the seeds and keeps its name."""

    def make(r: random.Random, directory: Path) -> Path:
        name = r.choice(sorted(seeds))
        path = directory / name
        path.write_bytes(change(seeds[name], r))
        return path

    return make
