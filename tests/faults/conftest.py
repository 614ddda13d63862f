"""Input for the disturbed stages, made once: a few seconds of Paddle."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cases


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("faults") / "inputs"
    cases.make_inputs(directory)
    return directory


@pytest.fixture(scope="session")
def tester() -> None:
    """The C++ tester, as `inv build.tester` builds it."""
    done = subprocess.run([sys.executable, "-m", "qat8.stages.build_tester"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def strace() -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed: apt-get install strace")


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> None:
    """Somebody who may mount a disk of a few pages."""
    if os.geteuid():
        pytest.skip("only root mounts a small disk")
    place = tmp_path_factory.mktemp("mount")
    done = subprocess.run(["mount", "-t", "tmpfs", "qat8-faults", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    subprocess.run(["umount", place], check=True)
