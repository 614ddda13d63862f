"""Import the real ImageNet weights of MobileNet-V1: a TensorFlow GraphDef becomes weights.npz, in Paddle's layout.

data/weights/MobileNetV1/weights.npz    one float32 array per entry of the layer's state dict
                         ORIGIN.md      where the weights come from, and their licence
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from qat8 import artifacts, cli
from qat8.console import say
from qat8.errors import DataError, UsageError
from qat8.models import registry
from qat8.packages import NUDITY, members

WEIGHTS = artifacts.DATA / "weights"
GRAPH = "nudity/files/retrained_graph.pb"
GRAPH_SHA256 = "3b90af536f810f5f75e9f6d431bc2e8a3c4fc2ff4f693aa0dd4ae429816f8735"


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="weights", description="import pretrained weights that ship in a package")
    parser.flag("model", default=registry.DEFAULT, help="which model")
    parser.flag("output-dir", default=None, help="where they go (None: data/weights/MODEL)")
    args = parser.parse_args(argv)
    model = registry.get(args.model)
    if not model.embedded_weights:
        raise UsageError(
            f"no package with ImageNet weights of {model.name} is known", "MobileNetV1",
            f"inv train --model={model.name} --pretrained-model=FILE.pdparams with weights of yours",
        )  # fmt: skip
    build(Path(args.output_dir or WEIGHTS / model.name))


def build(target: Path) -> None:
    inputs = {NUDITY.file: NUDITY.sha256, GRAPH: GRAPH_SHA256}
    with artifacts.exclusive(target):
        if artifacts.up_to_date(target, "weights", {}, inputs):
            say(f"weights are up to date: {artifacts.shown(target)}")
            return
        with artifacts.atomic_directory(target) as directory:
            state = _state(directory)
            np.savez(directory / "weights.npz", **state)
            (directory / "ORIGIN.md").write_text(
                f"MobileNet-V1 1.0/224, ImageNet, from {NUDITY.origin}, `{GRAPH}` (SHA-256 {GRAPH_SHA256}).\n"
                f"Licence of the package: {NUDITY.licence}. Its retrained head is ignored, and class 0 (background).\n"
            )
            outputs = artifacts.outputs_of(directory)
            artifacts.write_manifest(directory / "manifest.json", "weights", {}, inputs, outputs)
    say(f"weights: {sum(v.size for v in state.values()):,} numbers in {artifacts.shown(target)}")


def _state(directory: Path) -> dict[str, np.ndarray]:
    # Here, so that weights that are up to date are found without reading protobuf classes.
    from qat8.models.tensorflow_weights import mobilenet_v1_state

    content = members(NUDITY)[GRAPH]
    if hashlib.sha256(content).hexdigest() != GRAPH_SHA256:
        raise DataError(f"{GRAPH} in {NUDITY.file} has another checksum", f"SHA-256 {GRAPH_SHA256}")
    graph = directory / "graph.pb"
    graph.write_bytes(content)
    state = mobilenet_v1_state(graph)
    graph.unlink()
    return state


if __name__ == "__main__":
    cli.run(main)
