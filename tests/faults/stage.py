"""One stage as a process, with what is too large to disturb a hundred times made small: `stage.py NAME ARGV...`.

NAME is a stage; `ilsvrc2012`: `dataset --ilsvrc2012` of the archive that `ARCHIVE` of the environment names;
`random-weights FILE`: makes some for the model Tiny, which is known here.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from pathlib import Path

from qat8 import signals

if __name__ == "__main__":
    signals.leave_at_once()  # as `python -m qat8.stages.NAME` does

import numpy as np

from qat8 import cli, ilsvrc2012
from qat8.models import registry
from qat8.training import launch

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from tiny_network import MODEL as TINY


def small_archive(file: Path) -> None:
    from qat8.ilsvrc2012 import classes
    from qat8.ilsvrc2012.unpack import tarfile

    content = file.read_bytes()
    with tarfile.open(file) as tar:
        images = len(tar.getmembers())
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    ilsvrc2012.VAL = ilsvrc2012.Archive("http://localhost/", file.name, len(content), digest, images)
    classes.read = lambda archive: [1] * archive.images


def random_weights(file: str) -> None:
    random = np.random.default_rng(0)
    state = {}
    for name, shape in registry.state_shapes(TINY).items():
        values = np.abs(random.normal(1, 0.5, shape)) if name.endswith("_variance") else random.normal(0, 1, shape)
        state[name] = values.astype(np.float32)
    np.savez(file, **state)


def main(name: str, argv: list[str]) -> None:
    registry.MODELS["Tiny"] = TINY
    launch._command = lambda argv: [sys.executable, __file__, "train", *argv]  # the ranks must know it, too
    if name == "random-weights":
        return random_weights(*argv)
    if name == "ilsvrc2012":
        small_archive(Path(os.environ["ARCHIVE"]))
        name, argv = "dataset", ["--ilsvrc2012", f"--archive={os.environ['ARCHIVE']}", *argv]
    cli.run(importlib.import_module(f"qat8.stages.{name}").main, argv)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
