"""Saved models -> files of the engine (tester/engine/), which runs them without Paddle.

Where they lie, for everybody; what makes them is in the modules.
"""

from __future__ import annotations

from pathlib import Path

from qat8 import artifacts, manifests
from qat8.errors import ModelError

TESTER = "engine"
DIRECTORY = "engine"  # beside the models that the files were made from


def engine_file(model: Path, precision: str) -> Path:
    """Where `inv export` writes the engine's form of the saved model in `model`."""
    return Path(model).parent / DIRECTORY / f"{precision}.qat8"


def require_made_from(model: Path, precision: str) -> None:
    """Raise ModelError unless the engine's file is there and was made from just this saved model."""
    file = engine_file(model, precision)
    manifest = manifests.read(file.parent) if file.is_file() else None
    again = f"inv export --model=MODEL, or --{precision}-model={artifacts.shown(model)}"
    if manifest is None:
        raise ModelError(f"{artifacts.shown(file)} is not there", "the engine's form of the model", again)
    if manifest["inputs"].get(precision) != artifacts.sha256(model):
        raise ModelError(f"{artifacts.shown(file)} was made from another model than {artifacts.shown(model)}",
                         next_step=again)  # fmt: skip
