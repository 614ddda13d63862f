"""Float32 QAT model -> oneDNN INT8 model (tutorial, section 3).

The saved model, loaded by a plain oneDNN predictor, runs its convolutions in INT8. A conversion that quantized no
convolution is refused: it would load, run, and be as slow as FP32.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from qat8 import artifacts, cli, datafile, environment, imaging
from qat8.console import say, step
from qat8.errors import DataError, VerificationError
from qat8.models import registry
from qat8.statistics import wilson_interval

MIN_AGREEMENT = 0.98


def parser(prog: str) -> cli.Parser:
    p = cli.Parser(prog=prog, description="convert a float32 QAT model to a oneDNN INT8 model")
    p.flag("model", default=registry.DEFAULT, help="gives the default paths data/models/MODEL/{qat,int8}")
    p.flag("qat-model-path", default=None, help="directory of the QAT model")
    p.flag("int8-model-save-path", default=None, help="directory to write")
    p.flag("quantized-ops", default="conv2d,pool2d", help="operator types to quantize, by comma")
    p.flag("check-data", default=None, help="data file on which INT8 must name the same classes as QAT")
    p.flag(
        "min-agreement",
        type=float,
        default=MIN_AGREEMENT,
        help="share of images, with --check-data; refused when the 95 %% interval lies below it",
    )
    return p


def main(argv: list[str], prog: str = "convert") -> None:
    args = parser(prog).parse_args(argv)
    home = artifacts.DATA / "models" / registry.get(args.model).name
    source = Path(args.qat_model_path or home / "qat")
    target = Path(args.int8_model_save_path or home / "int8")
    check = Path(args.check_data) if args.check_data else None
    build(source, target, args.quantized_ops, check, args.min_agreement)


def build(source: Path, target: Path, ops: str, check: Path | None, min_agreement: float) -> None:
    """Convert, look, check, and only then put the model in its place.

    Raises:
        ModelError: `source` is no QAT model.
        VerificationError: nothing was quantized, or the outputs differ too often.
    """
    program_file, _ = artifacts.model_files(source)
    if not environment.has_vnni():
        say(environment.NO_VNNI)
    config = {"quantized_ops": ops, "min_agreement": min_agreement if check else None}
    inputs = {"qat_model": artifacts.sha256(source)}
    if check:
        inputs["check_data"] = artifacts.sha256(check) if check.is_file() else ""
    with artifacts.exclusive(target):
        if artifacts.up_to_date(target, "convert", config, inputs):
            say(f"INT8 model is up to date: {artifacts.shown(target)}")
            return
        with artifacts.atomic_directory(target) as directory:
            with step("converting to INT8"):
                found = _convert(program_file, ops, directory)
            for line in found.lines():
                say(f"  {line}")
            _require_int8(found)
            agreement = _agreement(source, directory, check, min_agreement) if check else None
            carried = artifacts.read_manifest(source) or {}
            artifacts.write_manifest(
                directory / "manifest.json", "convert", config, inputs, artifacts.outputs_of(directory), kind="int8",
                model=carried.get("config", {}).get("model"), agreement_with_qat=agreement,
                preprocessing=artifacts.preprocessing_of(source), operators=found.lines(),
            )  # fmt: skip
    say(f"INT8 model: {artifacts.shown(target)}")


def _convert(program_file: Path, ops: str, directory: Path):
    from qat8.int8 import inspection, passes
    from qat8.saving import save_model

    asked = passes.op_set(ops)
    loaded = passes.load(str(program_file.with_suffix("")))
    passes.require_qat(loaded, str(program_file.parent))
    before = loaded.types()
    program = passes.convert(loaded, asked)
    save_model(program, loaded.feeds, loaded.fetches, loaded.executor, loaded.scope, directory)
    # Read back: what counts is what is in the file.
    saved = passes.load(str(directory / "model"))
    return inspection.inspect(before, saved.program, asked)


def _require_int8(found) -> None:
    if not found.int8_convolutions:
        raise VerificationError(
            f"0 of {found.convolutions} convolutions were quantized", "all of them",
            "conv2d must be in --quantized-ops, and in quantize_op_types when the model was trained",
        )  # fmt: skip


def _agreement(qat: Path, int8: Path, data: Path, least: float) -> float:
    from qat8.prediction import predictor

    threads = len(os.sched_getaffinity(0))
    with datafile.Reader(data) as reader, step("comparing INT8 with the QAT model"):
        _require_same_input(qat, reader)
        reference, candidate = predictor(qat, threads, native=True), predictor(int8, threads)
        pairs = [(reference(x).argmax(1), candidate(x).argmax(1)) for x, _ in reader.batches(20)]
    same = np.concatenate([a == b for a, b in pairs]).tolist()
    share = sum(same) / len(same)
    low, high = wilson_interval(sum(same), len(same))
    interval = f"{share:.1%} of {len(same)} images (95 % interval {low:.1%} to {high:.1%})"
    say(f"  INT8 names the same class as the QAT model on {interval}")
    # Roundings that fall the other way early in the network grow through it, so images whose two best classes are level
    # may flip on any CPU: what is refused is a model that lies below the limit with certainty, not with bad luck.
    if high < least:
        raise VerificationError(f"INT8 agrees with the QAT model on {interval}", f"{least:.1%} or more")
    return share


def _require_same_input(model: Path, reader: datafile.Reader) -> None:
    wanted = artifacts.preprocessing_of(model)
    if wanted and reader.header.fingerprint and not imaging.same_pixels(wanted, reader.header.fingerprint):
        raise DataError(f"{reader.path} was preprocessed for another model", f"{wanted}", "inv preprocess --model=...")


if __name__ == "__main__":
    cli.run(main)
