"""Program of the peers' environment: our saved FP32 model -> a peer's FP32 and INT8 models.

`python -m qat8.peers.make --peer=NAME --model=M --fp32-model=DIR --calibration=FILE` writes
data/models/M/peers/NAME/{fp32,int8}. `inv peers` starts it; models that are up to date are left alone.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from qat8 import artifacts, cli, datafile, manifests, peers
from qat8.console import say
from qat8.errors import VerificationError


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="make", description="a peer's FP32 and INT8 models")
    parser.flag("peer", choices=peers.NAMES, help="which engine")
    parser.flag("model", help="name of the model")
    parser.flag("fp32-model", type=Path, help="directory of the saved Paddle model")
    parser.flag("calibration", type=Path, help="data file of the images to calibrate with")
    args = parser.parse_args(argv)
    for precision in ("fp32", "int8"):
        make(args.peer, args.model, args.fp32_model, args.calibration, precision)


def make(peer: str, model: str, fp32_model: Path, calibration: Path, precision: str) -> None:
    target = peers.directory(model, peer, precision)
    inputs = {"fp32": artifacts.sha256(fp32_model), "peer": peers.source_digest(peer)}
    if precision == "int8":
        inputs["calibration"] = artifacts.sha256(calibration)
    config = {"model": model, "peer": peer, "preprocessing": manifests.preprocessing_of(fp32_model)}
    with artifacts.exclusive(target):
        if manifests.up_to_date(target, "peers", config, inputs):
            say(f"  {peer} {precision} is up to date: {artifacts.shown(target)}")
            return
        with artifacts.atomic_directory(target) as directory:
            version, convolutions = _write(peer, fp32_model, calibration, precision, directory)
            outputs = manifests.outputs_of(directory)
            manifests.write(directory / "manifest.json", "peers", config, inputs, outputs,
                                     kind=precision, engine=version, int8_convolutions=convolutions)  # fmt: skip
    say(f"  {peer} {precision}: {artifacts.shown(target)}")


def _write(
    peer: str, fp32_model: Path, calibration: Path, precision: str, directory: Path
) -> tuple[str, tuple[int, int]]:
    """The engine's name and version; of the model's convolutions, those that it runs in INT8, and all."""
    from qat8.peers import onnx_model  # here, as the engines: they take seconds to import

    engine = importlib.import_module(f"qat8.peers.{peer}")
    with artifacts.scratch() as scratch:
        plain = scratch / "model.onnx"
        onnx_model.export(fp32_model, plain)
        if precision == "fp32":
            engine.make_fp32(plain, directory)
        else:
            with datafile.Reader(calibration) as reader:
                images, _ = reader.batch(0, len(reader))
            engine.make_int8(plain, images, directory)
        with datafile.Reader(calibration) as reader:
            h = reader.header
        predictor = engine.Predictor(directory, precision, 1, 1)
        predictor.prepare((1, 3, h.height, h.width))
        found = predictor.int8_convolutions()
    if precision == "int8" and not found[0]:
        raise VerificationError(f"{peer} runs none of {found[1]} convolutions in INT8", "most of them")
    return engine.VERSION, found


if __name__ == "__main__":
    cli.run(main)
