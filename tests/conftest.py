"""What the tests share. Artifacts of the tests go into a directory of their own: never into the user's data/."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

# Before the first import of qat8, which reads it once.
_HOME = tempfile.TemporaryDirectory(prefix="qat8-tests-")
os.environ["QAT8_DATA"] = _HOME.name

# A shell starts what runs in its background with SIGINT ignored, and so would be what the tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repo() -> Path:
    return REPO


@pytest.fixture(scope="session")
def photograph():
    """`photograph(path, width, height, seed)` writes a smooth coloured picture and gives its path."""
    from PIL import Image

    def write(path: Path, width: int = 48, height: int = 40, seed: int = 0, **options) -> Path:
        coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, **options)
        return path

    return write


@pytest.fixture
def static_mode():
    """Paddle's static mode, which is a switch of the whole process, for one test."""
    from qat8.engine import paddle

    paddle.enable_static()
    yield
    paddle.disable_static()


@pytest.fixture
def photographs(tmp_path, photograph):
    """`photographs(n, name)`: a directory in the tutorial's layout, n photographs and `name`_list.txt."""

    def make(count: int, name: str = "val", classes: int = 10) -> Path:
        directory = tmp_path / "photographs"
        lines = []
        for i in range(count):
            photograph(directory / name / f"{i}.jpg", 40 + i, 60 - i, seed=i, quality=95)
            lines.append(f"{name}/{i}.jpg {i % classes}\n")
        (directory / f"{name}_list.txt").write_text("".join(lines))
        return directory

    return make


@pytest.fixture
def ends(capsys):
    """`ends(main, *argv)`: a stage as its command line runs it; exit code, lines of stdout, lines of stderr."""
    from qat8 import cli

    def call(main, *argv) -> SimpleNamespace:
        code = 0
        capsys.readouterr()
        try:
            cli.run(main, [str(a) for a in argv])
        except SystemExit as e:
            code = e.code
        seen = capsys.readouterr()
        return SimpleNamespace(code=code, out=seen.out.splitlines(), err=seen.err.splitlines())

    return call


@pytest.fixture
def refused(ends):
    """`refused(main, code, words, *argv)` asserts this exit code and one error line that holds all the words."""

    def check(main, code: int, words: list[str], *argv) -> str:
        done = ends(main, *argv)
        assert (done.code, len(done.err)) == (code, 1), (done.code, done.err)
        assert done.err[0].startswith("error: ")
        assert [word for word in words if word not in done.err[0]] == [], done.err[0]
        return done.err[0]

    return check
