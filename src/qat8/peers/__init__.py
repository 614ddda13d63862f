"""Other engines that run the same FP32 weights: one module each, in an environment of their own (`.venv-peers`).

A peer's module makes its FP32 and its INT8 model from the ONNX form of ours (`make_fp32`, `make_int8`) and runs either
(`Predictor`), each the way its own documentation says is fastest on a CPU: docs/peers.md. Only processes of that
environment import those modules; this one is for everybody.
"""

from __future__ import annotations

import os
from pathlib import Path

from qat8 import artifacts, manifests
from qat8.errors import MachineError, ModelError, UsageError

NAMES = ("openvino", "onnxruntime", "torch")
IN_BF16 = ("openvino",)  # whose FP32 model runs in bfloat16 when asked to
ENVIRONMENT = Path(os.environ.get("QAT8_PEERS", artifacts.REPOSITORY / ".venv-peers"))
PYTHON = ENVIRONMENT / "bin" / "python"
LOCK = artifacts.REPOSITORY / "requirements-peers.txt"
INSTALLED = ENVIRONMENT / ".peers"  # names the peers that `inv build.peers` could install, by line


def parse(text: str) -> list[str]:
    """`openvino,torch` -> the names, without repetition; an empty text is none.

    Raises:
        UsageError: unknown; the known ones are named.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in NAMES:
            raise UsageError(f"unknown peer {name!r}", f"of {', '.join(NAMES)}")
    return list(dict.fromkeys(names))


def require(names: list[str]) -> None:
    """Raise MachineError unless these peers are installed."""
    if not names:
        return
    if os.environ.get("QAT8_CONTAINER"):
        raise UsageError("peers in a container", "--runtime=local: the image does not hold them")
    if not PYTHON.exists():
        raise MachineError(
            f"the peers' environment {artifacts.shown(ENVIRONMENT)} is not there", next_step="inv build.peers"
        )
    installed = INSTALLED.read_text().split() if INSTALLED.is_file() else []
    if missing := [name for name in names if name not in installed]:
        raise MachineError(
            f"{', '.join(missing)} is not installed in {artifacts.shown(ENVIRONMENT)}", next_step="inv build.peers"
        )


def directory(model: str, peer: str, precision: str) -> Path:
    """Where a peer's model lies: `inv peers` writes it, `inv benchmark --peers` reads it."""
    return artifacts.DATA / "models" / model / "peers" / peer / precision


def require_made_from(model: str, peer: str, fp32: Path) -> None:
    """Raise ModelError unless the peer's models are there and were made from this FP32 model."""
    for precision in ("fp32", "int8"):
        place = directory(model, peer, precision)
        manifest = manifests.read(place) if place.is_dir() else None
        if manifest is None:
            raise ModelError(f"{artifacts.shown(place)}: no model of {peer}", next_step=f"inv peers --models={model}")
        if manifest["inputs"]["fp32"] != artifacts.sha256(fp32):
            raise ModelError(
                f"{artifacts.shown(place)} was made from another model than {artifacts.shown(fp32)}",
                next_step=f"inv peers --models={model}",
            )


def source_digest(peer: str) -> str:
    """SHA-256 of what decides how a peer's models come to be and run: its module, the shared ones, its packages."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("onnx_model.py")), *sorted(here.glob(f"{peer}*.py")), LOCK]
    return artifacts.fingerprint([artifacts.sha256(file) for file in files])
