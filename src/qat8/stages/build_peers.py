"""Make the peers' environment, `.venv-peers`, from requirements-peers.txt: what `inv benchmark --peers` measures.

torch comes last and alone: the lock names its CPU build, which not every package index has. Without it the other peers
work all the same, and the stage says so.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from qat8 import artifacts, cli, older_python, peers
from qat8.console import say, step
from qat8.errors import MachineError

NEEDED_BYTES = 4 * 10**9  # 1.6 GB of packages, and what pip unpacks on the way
OF_TORCH = ("torch", "torchao")
_STAMP = peers.ENVIRONMENT / ".lock.sha256"


def main(argv: list[str]) -> None:
    cli.Parser(prog="build_peers", description="make the peers' environment").parse_args(argv)
    older_python.require("the peers' environment", (3, 11), "for which alone its packages are locked")
    with artifacts.exclusive(peers.ENVIRONMENT):
        want = artifacts.sha256(peers.LOCK)
        if _STAMP.is_file() and _STAMP.read_text() == want:
            say(f"peers' environment is up to date: {artifacts.shown(peers.ENVIRONMENT)}")
            return
        if (free := shutil.disk_usage(peers.ENVIRONMENT.parent).free) < NEEDED_BYTES:
            raise MachineError(f"{free / 1e9:.1f} GB free", f"{NEEDED_BYTES / 1e9:.0f} GB", "make room")
        _make(want)


def _make(want: str) -> None:
    shutil.rmtree(peers.ENVIRONMENT, ignore_errors=True)
    torch, others = split(peers.LOCK.read_text())
    with step("installing openvino and onnxruntime (about 0.9 GB)"):
        _run("venv", [sys.executable, "-m", "venv", str(peers.ENVIRONMENT)])
        _install(others)
        # qat8 itself, whose data file reader and tester the peers share.
        (site,) = peers.ENVIRONMENT.glob("lib/python3*/site-packages")
        (site / "qat8.pth").write_text(f"{Path(artifacts.__file__).parents[1]}\n")
    names = [name for name in peers.NAMES if name != "torch"]
    peers.INSTALLED.write_text("\n".join(names) + "\n")
    try:
        with step("installing torch, CPU build (about 0.7 GB)"):
            _install(torch)
            _run("import torch", [str(peers.PYTHON), "-c", "import torch, torchao"])
    except MachineError as e:
        raise MachineError(
            f"the CPU build of torch is not to be had ({e.fact}); {' and '.join(names)} are installed and work",
            "PyTorch's own package index for CPU, or its file in a directory",
            "set PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS to it, then inv build.peers",
        ) from e
    peers.INSTALLED.write_text("\n".join(peers.NAMES) + "\n")
    _STAMP.write_text(want)
    say(f"peers' environment: {artifacts.shown(peers.ENVIRONMENT)}")


def split(lock: str) -> tuple[str, str]:
    """The lock's entries of torch, and the others'."""
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    ours = [e for e in entries if re.match(rf"({'|'.join(OF_TORCH)})==", e)]
    return "".join(ours), "".join(e for e in entries if e not in ours)


def _install(lock: str) -> None:
    with tempfile.NamedTemporaryFile("w", prefix="qat8-", suffix=".txt") as file:
        file.write(lock)
        file.flush()
        # --no-deps: the lock names everything.
        _run("pip", [str(peers.PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps",
                     "--only-binary=:all:", "--require-hashes", "-r", file.name])  # fmt: skip


def _run(what: str, command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        telling = [line for line in lines if line.lower().startswith("error")] or lines[-1:]
        raise MachineError(f"{what}: {telling[-1].removeprefix('ERROR: ')}")


if __name__ == "__main__":
    cli.run(main)
