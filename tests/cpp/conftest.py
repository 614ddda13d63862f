"""Fixtures of the testers' tests: the C++ build, models, data files, and a way to run either tester."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from qat8 import tester_run
from qat8.datafile import DTYPES, Header, Writer, normalise
from qat8.older_python import zip_strict

REPO = Path(__file__).resolve().parents[2]
TESTER = REPO / "tester"
BUILD = TESTER / "build"
IMAGES, SIDE, CLASSES = 37, 32, 10
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _quiet(command: list, **kwargs) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="session")
def build() -> Path:
    """tester/build, brought up to date: a matter of seconds the first time, of nothing later."""
    options = ["-DUSE_GPU=OFF", "-DPADDLE_ROOT=", "-DPADDLE_WHEEL=", "-DUSE_PROFILER=OFF", "-DBUILD_TESTS=ON"]
    options += ["-DWARNINGS_AS_ERRORS=ON", f"-DPADDLE_PYTHON={sys.executable}"]
    _quiet(["cmake", "-S", TESTER, "-B", BUILD, *options])
    _quiet(["cmake", "--build", BUILD, "-j", "2"])
    return BUILD


@pytest.fixture(scope="session")
def configure(tmp_path_factory):
    """Runs cmake in a fresh directory; gives its exit code and its messages, joined to single spaces."""

    def run(*options: str, source: Path = TESTER) -> SimpleNamespace:
        directory = tmp_path_factory.mktemp("configure")
        command = ["cmake", "-S", str(source), "-B", str(directory), f"-DPADDLE_PYTHON={sys.executable}", *options]
        done = subprocess.run(command, capture_output=True, text=True)
        return SimpleNamespace(code=done.returncode, text=" ".join((done.stdout + done.stderr).split()), dir=directory)

    return run


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    _quiet([sys.executable, Path(__file__).with_name("make_models.py"), directory])
    return directory


def write_data(path: Path, kind: str, images: np.ndarray, labels: np.ndarray) -> Path:
    raw, dtype = kind == "raw", DTYPES[2 if kind == "uint8" else 1]
    header = Header(len(images), *images.shape[2:], dtype, CLASSES, MEAN, STD, {"resize": 256}, raw=raw)
    writer = Writer(path, header)
    for image, label in zip_strict(images, labels):
        writer.append(image if kind == "uint8" else normalise(image, MEAN, STD), int(label))
    writer.close()
    return path


@pytest.fixture
def small_images(tmp_path) -> Path:
    """Two images of another size than the models'."""
    return write_data(tmp_path / "small.bin", "uint8", np.zeros((2, 3, 16, 16), np.uint8), np.zeros(2, np.int64))


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> dict[str, Path]:
    """The same 37 coloured noise images in the three kinds of data file."""
    random = np.random.default_rng(1)
    colours = random.integers(0, 256, (IMAGES, 3, 1, 1))
    noise = random.integers(-60, 61, (IMAGES, 3, SIDE, SIDE))
    images = np.clip(colours + noise, 0, 255).astype(np.uint8)
    labels = random.integers(0, CLASSES, IMAGES)
    directory = tmp_path_factory.mktemp("data")
    return {kind: write_data(directory / f"{kind}.bin", kind, images, labels) for kind in ("raw", "float32", "uint8")}


@pytest.fixture(scope="session")
def commands(build) -> dict[str, list[str]]:
    return {
        "cpp": [str(build / "sample_tester")],
        "engine": [str(build / "engine_tester")],
        "cpp_profiler": [str(build / "sample_tester_profiler")],
        "python": [sys.executable, str(TESTER / "sample_tester.py")],
    }


@pytest.fixture
def run(commands, tmp_path):
    """`run("cpp", infer_model=..., ...)` gives exit code, lines of stdout, stderr, and the JSON if there is one."""

    def tester(which: str, *arguments: str, env: dict | None = None, **flags) -> SimpleNamespace:
        json = tmp_path / f"{which}.json"
        json.unlink(missing_ok=True)
        spelled = [f"--{name}={value}" for name, value in flags.items()]
        command = [*commands[which], *spelled, f"--json={json}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=300)
        result = tester_run.load(json) if json.exists() else None
        return SimpleNamespace(code=done.returncode, lines=done.stdout.splitlines(), err=done.stderr, json=result)

    return tester


@pytest.fixture(scope="session")
def preload(tmp_path_factory):
    """Compiles a library that replaces functions of Paddle, to be preloaded; gives the environment that does so."""

    def make(source: str) -> dict[str, str]:
        directory = tmp_path_factory.mktemp("preload")
        (directory / "replace.cc").write_text("#include <paddle_inference_api.h>\n" + source)
        include = ["-I", TESTER / "wheel_abi"]
        _quiet(["g++", "-std=c++17", "-shared", "-fPIC", *include, "replace.cc", "-o", "replace.so"], cwd=directory)
        return {"LD_PRELOAD": str(directory / "replace.so")}

    return make


@pytest.fixture
def fails(run):
    """Asserts that a run fails as a user should see it: this exit code, one line on stderr, no result."""

    def check(which: str, code: int, *words: str, **flags) -> None:
        done = run(which, **flags)
        assert done.code == code, (done.lines, done.err)
        lines = done.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), done.err
        missing = [word for word in words if word not in lines[0]]
        assert not missing, (missing, lines[0])
        assert done.json is None

    return check


@pytest.fixture(scope="session")
def paddle_root(tmp_path_factory) -> Path:
    """A tree like an inference distribution of the 2.0-beta time, whose library is a stub of ours."""
    root = tmp_path_factory.mktemp("paddle_root")
    (root / "paddle/include").mkdir(parents=True)
    (root / "paddle/lib").mkdir()
    stub = Path(__file__).with_name("stub_paddle")
    shutil.copy(stub / "paddle_inference_api.h", root / "paddle/include")
    target = root / "paddle/lib/libpaddle_fluid.so"
    _quiet(["g++", "-std=c++17", "-shared", "-fPIC", stub / "stub.cc", "-Wl,-soname,libpaddle_fluid.so", "-o", target])
    return root
