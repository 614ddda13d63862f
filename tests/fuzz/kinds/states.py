"""Manifests of models and data files, and checkpoints of a training."""

from __future__ import annotations

import json
import random
from pathlib import Path

import mutations
import numpy as np
from attempts import Ending, Kind, command_line
from mutations import damaged, json_text

from kinds.common import GOLDEN


class Stopped(BaseException):
    """Everything before the measurement has been done."""


def _model_manifest() -> dict:
    fingerprint = {"resize": 256, "what": "golden file"}  # of the data file
    return {"schema": 1, "stage": "convert", "created": "2026-01-01T00:00:00+00:00", "command": ["x"],
            "config": {"preprocessing": fingerprint, "untrained": False, "quantized_ops": "conv2d"},
            "inputs": {"qat_model": "0" * 64}, "outputs": {"model.pdmodel": "0" * 64}, "versions": {"qat8": "0"},
            "kind": "int8", "model": "MobileNetV1", "preprocessing": fingerprint, "untrained": False,
            "left_in_fp32": []}  # fmt: skip


def _data_manifest() -> dict:
    subset = {"name": "all", "start": 0, "count": 3, "labels": "in the file", "used_in_training": False}
    return _model_manifest() | {"stage": "preprocess", "subsets": [subset], "images": 3, "missing": []}


def _manifests(r: random.Random, directory: Path) -> Path:
    """Two models and a data file, one of whose manifests is hostile."""
    hostile = r.randrange(3)
    for i, name in enumerate(("fp32", "int8")):
        (directory / name).mkdir()
        for suffix in ("pdmodel", "pdiparams"):
            (directory / name / f"model.{suffix}").write_bytes(b"x")
        text = json.dumps(_model_manifest()).encode()
        (directory / name / "manifest.json").write_bytes(json_text(text, r) if i == hostile else text)
    (directory / "raw.bin").write_bytes((GOLDEN / "uint8.bin").read_bytes())
    text = json.dumps(_data_manifest()).encode()
    (directory / "raw.bin.manifest.json").write_bytes(json_text(text, r) if hostile == 2 else text)
    return directory


def _use_manifests(directory: Path) -> Ending:
    """What `inv benchmark` and `inv profile` make of them until they measure; and whether a stage is up to date."""
    from qat8 import fitting, manifests
    from qat8.benchmarking import plan, recording
    from qat8.stages import benchmark

    def stop(*_):
        raise Stopped

    before = recording.record, plan.require_testers
    recording.record, plan.require_testers = stop, lambda *_: None
    try:
        names = ("--fp32-model", "fp32"), ("--int8-model", "int8"), ("--data-file", "raw.bin")
        flags = [f"{flag}={directory / name}" for flag, name in names]
        ending = command_line(benchmark.main, *flags, "--testers=python")
    except Stopped:
        ending = Ending(0)
    finally:
        recording.record, plan.require_testers = before

    def others(_: list[str]) -> None:
        manifests.up_to_date(directory / "int8", "convert", {}, {})
        fitting.require(directory / "int8", directory / "raw.bin")

    return ending if ending.code else command_line(others)


class Training:
    """The part of a training session that checkpoints use."""

    def __init__(self) -> None:
        self.values = {"a.w_0": np.ones((4, 3), np.float32), "scale": np.ones(1, np.float32)}
        self.persistables = sorted(self.values)

    def get(self, name: str) -> np.ndarray:
        return self.values[name]

    def set(self, name: str, value: np.ndarray) -> None:
        if value.shape != self.values[name].shape:
            raise AssertionError(f"{name} became {value.shape}")
        self.values[name] = value


def _checkpoint(r: random.Random, directory: Path) -> Path:
    from qat8.training.checkpoint import Checkpoints, Position

    checkpoints = Checkpoints(directory, Training())
    position = Position("me", "updates", 7, 0.25, "epoch 1", [{"at": "epoch 1", "divergence": 0.25}])
    checkpoints.save(position)
    checkpoints.keep_best(position)
    path = directory / r.choice(("latest.npz", "best.npz"))
    if r.random() < 0.5:
        path.write_bytes(damaged(path.read_bytes(), r))
        return directory
    with np.load(path) as arrays:
        content = dict(arrays)
    changed = mutations.changed(json.loads(str(content["__position__"])), r)
    content["__position__"] = np.array(json.dumps(changed))
    if r.random() < 0.5:
        odd = [np.ones(3), np.ones((4, 3), np.complex64), np.array(["x"] * 12).reshape(4, 3), np.ones((4, 3), np.int8),
               np.zeros((0, 3)), np.array(5.0), np.full((4, 3), "2026-01-01", "M8[D]")]  # fmt: skip
        content["a.w_0"] = r.choice(odd)
    with open(path, "wb") as file:
        np.savez(file, **content)
    return directory


def _resume_training(directory: Path) -> Ending:
    from qat8.training.checkpoint import Checkpoints, Position

    def main(_: list[str]) -> None:
        checkpoints = Checkpoints(directory, Training())
        position = checkpoints.resume("me")
        assert isinstance(position, Position)
        checkpoints.load_best("me")
        json.dumps(position.history)

    return command_line(main)


def states() -> list[Kind]:
    return [
        Kind("manifests", _manifests, _use_manifests, (3, 4), 1000, 60, group="manifests"),
        Kind("checkpoints", _checkpoint, _resume_training, (), 500, 60, group="checkpoints"),
    ]
