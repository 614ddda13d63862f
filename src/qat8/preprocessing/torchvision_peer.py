"""torchvision beside ours: the wheel is fetched by checksum and unpacked, its transforms run in the peers' environment.

Not installed there: `import torchvision` fails beside the CPU build of torch, over operators that we do not need (see
the worker), and other packages would stumble over that. Pillow is this environment's, so that both decode alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

import PIL

from qat8 import packages, peers
from qat8.errors import MachineError
from qat8.imaging import Preprocessing

WHEEL = packages.Package(
    "torchvision", "0.28.0", "torchvision-0.28.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    "7e80f543b22503d9415e126db5f0ff3917036925e38560ee6b9ae38c571a4002", "BSD-3-Clause",
)  # fmt: skip
_WORKER = Path(__file__).with_name("torchvision_worker.py")


class Torchvision:
    """Preprocesses photographs in a process of its own; a context manager.

    Raises:
        MachineError: the peers' environment has no torch, or torchvision does not run in it.
    """

    def __init__(self, spec: Preprocessing, scratch: Path) -> None:
        peers.require(["torch"])
        with zipfile.ZipFile(packages.fetch(WHEEL)) as wheel:
            wheel.extractall(scratch, [name for name in wheel.namelist() if name.endswith(".py")])
        pillow = Path(PIL.__file__).parent
        for directory in (pillow, pillow.with_name("pillow.libs")):
            (scratch / directory.name).symlink_to(directory)
        settings = {"filter": spec.filter, "resize": spec.resize, "crop": spec.crop, "mean": spec.mean, "std": spec.std}
        environment = {**os.environ, "PYTHONPATH": str(scratch), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [str(peers.PYTHON), "-P", str(_WORKER), json.dumps(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.last_sum = 0.0  # of the last image's values

    def __enter__(self) -> Torchvision:
        return self

    def __exit__(self, *exc) -> None:
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()

    def __call__(self, paths: list[Path]) -> float:
        """Seconds by the worker's own clock: what goes through the pipe is not torchvision's."""
        try:
            self._process.stdin.write(json.dumps([str(path) for path in paths]) + "\n")
            self._process.stdin.flush()
            seconds, _, self.last_sum = json.loads(self._process.stdout.readline())
            return seconds
        except (OSError, ValueError):
            lines = self._process.stderr.read().strip().splitlines() or ["no message"]
            raise MachineError(
                f"torchvision {WHEEL.version} does not run: {lines[-1]}", next_step="inv build.peers"
            ) from None
