"""Import pretrained weights: those that ship in a package, or a file of another tool.

data/weights/MODEL/weights.npz    one float32 array per entry of the layer's state dict, in Paddle's layout
                   ORIGIN.md      where the weights come from, their licence, what matched
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qat8 import artifacts, cli, datafile, imaging, labels, manifests
from qat8.console import say, step
from qat8.errors import DataError, ModelError, UsageError
from qat8.models import registry
from qat8.packages import NUDITY, members

EMBEDDED = artifacts.EMBEDDED
RANDOM_IMAGES = 48
WEIGHTS = artifacts.DATA / "weights"
GRAPH = "nudity/files/retrained_graph.pb"
GRAPH_SHA256 = "3b90af536f810f5f75e9f6d431bc2e8a3c4fc2ff4f693aa0dd4ae429816f8735"
HEAD_SEED, HEAD_DEVIATION = 0, 0.01  # of a head that no weights were given for


@dataclass(frozen=True)
class Options:
    """`sha256`: what the file must have, "" when it is not known; see the flags."""

    sha256: str = ""
    allow_unused: bool = False
    backbone_only: bool = False


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="weights", description="import pretrained weights")
    parser.flag("model", default=registry.DEFAULT, help="which model")
    parser.flag("file", default=None, help="weights of another tool (None: those that ship in a package)")
    parser.flag("weights-sha256", default="", help="SHA-256 that --file must have")
    parser.flag("allow-unused", default=False, help="take --file although the model has no use for some of its arrays")
    parser.flag("backbone-only", default=False, help="take all but the last linear layer, which starts at random")
    parser.flag("random", default=False, help="random weights, for a model that no others can be had for: speed only")
    parser.flag("data-dir", default=str(EMBEDDED), help="--random: photographs that set ranges; it has train_list.txt")
    parser.flag("output-dir", default=None, help="where they go (None: data/weights/MODEL)")
    args = parser.parse_args(argv)
    model = registry.get(args.model)
    target = Path(args.output_dir or WEIGHTS / model.name)
    if args.random:
        if args.file:
            raise UsageError("--random with --file", "one of the two")
        return build_random(model, Path(args.data_dir), target)
    if args.file:
        options = Options(args.weights_sha256, args.allow_unused, args.backbone_only)
        return build_from(model, Path(args.file), options, target)
    if args.weights_sha256 or args.allow_unused or args.backbone_only:
        raise UsageError("flags of --file without --file", "--file=FILE")
    if not model.embedded_weights:
        raise UsageError(
            f"no package with ImageNet weights of {model.name} is known", "MobileNetV1",
            f"inv weights --model={model.name} --file=FILE with weights of yours (docs/weights.md), "
            "or --random for its speed alone",
        )  # fmt: skip
    build(target)


def build(target: Path) -> None:
    """The weights that ship in a package."""
    inputs = {NUDITY.file: NUDITY.sha256, GRAPH: GRAPH_SHA256}
    with artifacts.exclusive(target):
        if manifests.up_to_date(target, "weights", {}, inputs):
            say(f"weights are up to date: {artifacts.shown(target)}")
            return
        with artifacts.atomic_directory(target) as directory:
            state = _state(directory)
            text = (
                f"MobileNet-V1 1.0/224, ImageNet, from {NUDITY.origin}, `{GRAPH}` (SHA-256 {GRAPH_SHA256}).\n"
                f"Licence of the package: {NUDITY.licence}. Its retrained head is ignored, and class 0 (background).\n"
            )
            _write(directory, state, text, {}, inputs)
    say(f"weights: {sum(v.size for v in state.values()):,} numbers in {artifacts.shown(target)}")


def build_from(model: registry.Model, file: Path, options: Options, target: Path) -> None:
    """The weights of a file or directory of another tool.

    Raises:
        ModelError: not readable, another checksum, or it does not fit the model.
    """
    if not file.exists():
        raise ModelError(f"{file}: no such file", "weights of another tool (docs/weights.md)")
    digest = artifacts.sha256(file)
    if options.sha256 and digest != options.sha256.lower():
        raise ModelError(f"{file} has SHA-256 {digest}", options.sha256, "fetch it again from where its sum is given")
    config = {"model": model.name, "allow_unused": options.allow_unused, "backbone_only": options.backbone_only}
    with artifacts.exclusive(target):
        if manifests.up_to_date(target, "weights", config, {file.name: digest}):
            say(f"weights are up to date: {artifacts.shown(target)}")
            return
        found = _matched(model, file, options)
        for line in found.lines():
            say(f"  {line}")
        with artifacts.atomic_directory(target) as directory:
            origin = f"{model.name} from `{file}` (SHA-256 {digest}). Its licence is for you to know.\n"
            text = "\n".join([origin, *(f"- {line}" for line in found.lines()), ""])
            more = {"origin": found.origin, "random_head": options.backbone_only}
            _write(directory, found.state, text, config, {file.name: digest}, **more)
    say(f"weights: {sum(v.size for v in found.state.values()):,} numbers in {artifacts.shown(target)}")


def build_random(model: registry.Model, data_dir: Path, target: Path) -> None:
    """Random weights of a sensible range (`models.random_weights`); no accuracy is told from here on."""
    entries = labels.read(data_dir, data_dir / "train_list.txt", model.classes)[:RANDOM_IMAGES]
    inputs = {"images": artifacts.fingerprint([[path.name, label] for path, label in entries])}
    config = {"model": model.name, "random": True}
    with artifacts.exclusive(target):
        if manifests.up_to_date(target, "weights", config, inputs):
            say(f"weights are up to date: {artifacts.shown(target)}")
            return
        from qat8.models import random_weights

        spec = model.preprocessing
        with artifacts.atomic_directory(target) as directory, step(f"random weights for {model.name}"):
            pixels = [datafile.normalise(imaging.preprocess(p, spec), spec.mean, spec.std) for p, _ in entries]
            state = random_weights.state(model, np.stack(pixels), np.array([label for _, label in entries]))
            _write(directory, state, f"{model.name}: random, not trained.\n", config, inputs, random=True)
    say(f"weights: {sum(v.size for v in state.values()):,} random numbers in {artifacts.shown(target)}")


def _matched(model: registry.Model, file: Path, options: Options):
    from qat8.models.weights import formats, matching

    source = formats.read(file)
    shapes = registry.state_shapes(model.for_weights_of(matching.origin(source, model.name)))
    found = matching.match(source, model.name, shapes)
    if options.backbone_only:
        _random_head(found, shapes)
    matching.require_whole(found, file, options.allow_unused)
    return found


def _random_head(found, shapes: dict[str, tuple[int, ...]]) -> None:
    """Fill the last linear layer, whatever the file has for it."""
    weight, bias = list(shapes)[-2:]
    random = np.random.default_rng(HEAD_SEED)
    found.state[weight] = random.normal(0, HEAD_DEVIATION, shapes[weight]).astype(np.float32)
    found.state[bias] = np.zeros(shapes[bias], np.float32)
    found.missing = [name for name in found.missing if name not in (weight, bias)]
    found.misfits = [text for text in found.misfits if text.split()[0] not in (weight, bias)]
    found.notes.append(f"{weight} at random: its classes are not learned, so no accuracy of this model means anything")


def _write(directory: Path, state: dict, text: str, config: dict, inputs: dict, **more) -> None:
    np.savez(directory / "weights.npz", **state)
    (directory / "ORIGIN.md").write_text(text)
    outputs = manifests.outputs_of(directory)
    manifests.write(directory / "manifest.json", "weights", config, inputs, outputs, **more)


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
