"""Saved models of Paddle, and the engine's files: the testers, conversion and export over damaged ones."""

from __future__ import annotations

import functools
import os
import random
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

from attempts import Ending, Kind, command_line
from mutations import damaged

from kinds.common import BUILD, REPO, build_testers

SEEDS = REPO / "build" / "fuzz-models"  # made once
WRONG = (3, 4, 7)  # an input of another size; a model that is none; outputs that are no numbers


@functools.cache
def seeds() -> Path:
    """The tests' small models: plain/fp32, plain/qat, engine/{fp32,qat,int8}, and images for them."""
    if not (SEEDS / "images.bin").is_file():
        shutil.rmtree(SEEDS, ignore_errors=True)
        for name, script in (("plain", "make_models.py"), ("engine", "engine_models.py")):
            (SEEDS / name).mkdir(parents=True)
            command = [sys.executable, REPO / "tests/cpp" / script, SEEDS / name]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr)
        _export()
        _images(SEEDS / "images.bin")
    return SEEDS


def _export() -> None:
    home = SEEDS / "engine"
    command = [sys.executable, "-m", "qat8.stages.export", f"--fp32-model={home / 'fp32'}"]
    subprocess.run([*command, f"--int8-model={home / 'int8'}"], check=True, capture_output=True)


def _images(path: Path) -> None:
    import numpy as np

    from qat8.datafile import DTYPES, Header, Writer

    pixels = np.random.default_rng(1).integers(0, 256, (4, 3, 32, 32)).astype(np.uint8)
    writer = Writer(path, Header(4, 32, 32, DTYPES[2], 10, (0.5,) * 3, (0.5,) * 3, {"resize": 37}))
    for i, image in enumerate(pixels):
        writer.append(image, i)
    writer.close()


def damaged_model(*names: str) -> Callable[[random.Random, Path], Path]:
    """A copy of one of the models, with its program or its parameters damaged. Without a manifest: nobody vouches."""

    def make(r: random.Random, directory: Path) -> Path:
        source, target = seeds() / r.choice(names), directory / "model"
        target.mkdir()
        for name in ("model.pdmodel", "model.pdiparams"):
            shutil.copy(source / name, target)
        path = target / r.choice(("model.pdmodel", "model.pdmodel", "model.pdiparams"))
        path.write_bytes(damaged(path.read_bytes(), r))
        return target

    return make


def _python_tester(model: Path) -> Ending:
    sys.path.insert(0, str(REPO / "tester"))
    import sample_tester

    return command_line(sample_tester.main, f"--infer_model={model}", f"--infer_data={seeds() / 'images.bin'}",
                        "--batch_size=3")  # fmt: skip


def _convert(model: Path) -> Ending:
    from qat8.stages import convert

    return command_line(convert.main, f"--qat-model-path={model}", f"--int8-model-save-path={model.parent / 'int8'}")


def _export_stage(model: Path) -> Ending:
    from qat8.stages import export

    other = model.parent / "other"
    shutil.copytree(seeds() / "engine" / "int8", other)
    return command_line(export.main, f"--fp32-model={model}", f"--int8-model={other}")


def _program(name: str, model: Path) -> Ending:
    command = [BUILD / name, f"--infer_model={model}", f"--infer_data={seeds() / 'images.bin'}", "--batch_size=3"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20)
    # Paddle's protobuf library prints a line of its own, which nothing switches off, before Paddle throws.
    lines = [line for line in done.stderr.splitlines(keepends=True) if not line.startswith("[libprotobuf ")]
    return Ending(done.returncode, "".join(lines))


def _engine_file(r: random.Random, directory: Path) -> Path:
    """Damaged, and in most cases with sums that fit again, so that what lies behind them is reached."""
    content = (seeds() / "engine" / "engine" / f"{r.choice(('fp32', 'int8'))}.qat8").read_bytes()
    data = bytearray(damaged(content, r))
    if len(data) >= 64 and r.random() < 0.8:
        struct.pack_into("<Q", data, 16, len(data))
        struct.pack_into("<I", data, 40, zlib.crc32(data[64:]))
        struct.pack_into("<I", data, 60, zlib.crc32(data[:60]))
    path = directory / "model.qat8"
    path.write_bytes(data)
    return path


def models() -> list[Kind]:
    from qat8 import engine  # once, in the process that the cases are forked from

    assert engine
    os.environ["OMP_NUM_THREADS"] = "1"
    build_testers()
    seeds()
    any_model = damaged_model("plain/plain", "engine/fp32", "engine/int8")

    def kind(name: str, make, attempt, codes: tuple[int, ...], cases: int, small: int) -> Kind:
        return Kind(name, make, attempt, codes, cases, small, crashes=True, group="models")

    return [
        kind("Python tester", any_model, _python_tester, WRONG, 400, 20),
        kind("C++ tester", any_model, lambda m: _program("sample_tester", m), WRONG, 300, 10),
        kind("convert", damaged_model("plain/qat", "engine/qat"), _convert, WRONG, 150, 6),
        kind("export", damaged_model("engine/fp32"), _export_stage, WRONG, 150, 6),
        kind("engine tester", _engine_file, lambda f: _program("engine_tester", f), WRONG, 500, 30),
    ]
