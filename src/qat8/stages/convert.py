"""Float32 QAT model -> oneDNN INT8 model (tutorial, section 3).

The saved model, loaded by a plain oneDNN predictor, runs its convolutions in INT8. A conversion that quantized no
convolution is refused: it would load, run, and be as slow as FP32.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qat8 import artifacts, cli, datafile, fitting, instructions, manifests, trial
from qat8.console import say, step
from qat8.errors import UsageError, VerificationError
from qat8.models import registry
from qat8.statistics import wilson_interval

MIN_AGREEMENT = 0.98
CONVERTER = 3  # counts what changes the file that comes of the same QAT model, so that it is made again


def parser(prog: str) -> cli.Parser:
    p = cli.Parser(prog=prog, description="convert a float32 QAT model to a oneDNN INT8 model")
    p.flag("model", default=registry.DEFAULT, help="gives the default paths data/models/MODEL/{qat,int8}")
    p.flag("qat-model-path", default=None, help="directory of the QAT model")
    p.flag("int8-model-save-path", default=None, help="directory to write")
    p.flag("quantized-ops", default="conv2d,pool2d,fc", help="operator types to quantize, by comma")
    p.flag("check-data", default=None, help="data file on which INT8 must name the same classes as QAT")
    p.flag(
        "min-agreement",
        type=float,
        default=MIN_AGREEMENT,
        help="share of images, with --check-data; refused when the 95 %% interval lies below it",
    )
    p.flag(
        "max-drop",
        type=float,
        default=None,
        help="points of top-1 that INT8 may lose against FP32 on --check-data; the fewest layers stay in FP32 for it",
    )
    p.flag("fp32-model", default=None, help="the reference of --max-drop (None: data/models/MODEL/fp32)")
    p.flag(
        "strategy", default="qat", choices=["qat", "ptq"], help="which of the two models of `inv train` (default paths)"
    )
    p.flag(
        "reduce-range",
        default="auto",
        choices=["auto", "true", "false"],
        help="without VNNI: 7 bits of an activation, so that 16-bit sums hold (auto: where this one lacks it)",
    )
    return p  # fmt: skip


def main(argv: list[str], prog: str = "convert") -> None:
    args = parser(prog).parse_args(argv)
    home = artifacts.DATA / "models" / registry.get(args.model).name
    source = Path(args.qat_model_path or home / args.strategy)
    target = Path(args.int8_model_save_path or home / {"qat": "int8", "ptq": "int8_ptq"}[args.strategy])
    check = Path(args.check_data) if args.check_data else None
    reduced = instructions.saturates() if args.reduce_range == "auto" else args.reduce_range == "true"
    build(source, target, args.quantized_ops, check, args.min_agreement, _limit(args, home), reduced)


@dataclass(frozen=True)
class Limit:
    """`--max-drop`: percentage points of top-1 against the model `fp32`."""

    points: float
    fp32: Path


def _limit(args, home: Path) -> Limit | None:
    if args.max_drop is None:
        return None
    if not args.check_data:
        raise UsageError("--max-drop without --check-data", "the data file on which the accuracy is measured")
    if not 0 <= args.max_drop <= 100:
        raise UsageError(f"--max-drop={args.max_drop}", "percentage points from 0 to 100")
    return Limit(args.max_drop, Path(args.fp32_model or home / "fp32"))


def build(
    source: Path, target: Path, ops: str, check: Path | None, min_agreement: float, limit: Limit | None = None,
    reduced: bool = False,
) -> None:  # fmt: skip
    """Convert, look, check, and only then put the model in its place. `reduced`: see `passes.convert`.

    Raises:
        ModelError: `source` is no QAT model.
        VerificationError: nothing was quantized, the outputs differ too often, or no choice of layers meets `limit`.
    """
    program_file, parameters = artifacts.model_files(source)
    config = {"quantized_ops": ops, "converter": CONVERTER, "min_agreement": min_agreement if check else None}
    if untrained := manifests.is_untrained(source):
        config["untrained"] = True  # goes with the model, as training's
    inputs = {"qat_model": artifacts.sha256(source)}
    if check:
        inputs["check_data"] = artifacts.sha256(check) if check.is_file() else ""
    if reduced:
        config |= {"reduced_range": True}
    if limit:
        artifacts.model_files(limit.fp32)
        config |= {"max_drop": limit.points, "min_agreement": None}
        inputs["fp32_model"] = artifacts.sha256(limit.fp32)
    with artifacts.exclusive(target):
        if manifests.up_to_date(target, "convert", config, inputs):
            say(f"INT8 model is up to date: {artifacts.shown(target)}")
            return
        for line in instructions.shortcomings():
            say(f"warning: {line}")
        with artifacts.atomic_directory(target) as directory:
            _require_convertible(source, (program_file, parameters), ops)
            left_out, accuracy = _select(program_file, ops, check, limit, reduced) if limit else (frozenset(), None)
            with step("converting to INT8"), trial.blamed_on(source, (program_file, parameters)):
                found = _convert(program_file, ops, directory, left_out, limit and limit.fp32, reduced)
            for line in found.lines():
                say(f"  {line}")
            _require_int8(found)
            carried = manifests.read(source) or {}
            # Random weights put the two best classes of most photographs level: there a rounding decides.
            least = 0.0 if untrained else min_agreement
            agreement = _agreement(source, directory, check, least) if check and not limit else None
            manifests.write(
                directory / "manifest.json", "convert", config, inputs, manifests.outputs_of(directory), kind="int8",
                model=carried.get("config", {}).get("model"), agreement_with_qat=agreement,
                preprocessing=manifests.preprocessing_of(source), operators=found.lines(),
                left_in_fp32=sorted(left_out), accuracy=accuracy,
            )  # fmt: skip
    say(f"INT8 model: {artifacts.shown(target)}")


def _select(program_file: Path, ops: str, data: Path, limit: Limit, reduced: bool) -> tuple[frozenset[str], dict]:
    """The layers to leave in FP32, and the accuracies with them."""
    from qat8.int8 import passes, selection, sensitivity

    asked = passes.op_set(ops)
    passes.require_qat(passes.load(str(program_file.with_suffix(""))), str(program_file.parent))
    fitting.require(limit.fp32, data)
    with step("FP32 reference"):
        judge = sensitivity.Judge(limit.fp32, data, len(os.sched_getaffinity(0)))
    reference, _ = artifacts.model_files(limit.fp32)
    candidates = sensitivity.Candidates(program_file.with_suffix(""), reference.with_suffix(""), asked, judge, reduced)
    measured: dict[frozenset[str], float] = {}

    def drop(left: frozenset[str]) -> float:
        if left not in measured:
            score, _ = candidates.score(lambda name: name not in left)
            measured[left] = 100 * (judge.fp32.top1 - score.top1)
            change = 0.0 - round(measured[left], 2)
            say(f"  {len(left)} layers in FP32: top-1 {score.top1:.1%}, {change:+.2f} points from FP32")
        return measured[left]

    left: frozenset[str] | None = frozenset()
    with step(f"finding the fewest layers for at most {limit.points:g} points on {judge.images} images"):
        if drop(left) > limit.points:
            left = selection.fewest(sensitivity.analyse(candidates, judge).order(), drop, limit.points)
    if left is None:
        raise VerificationError(
            f"even with no layer in INT8 top-1 falls by {min(measured.values()):.2f} points", f"{limit.points:g}",
            "name the FP32 model that the QAT model was trained from (--fp32-model)",
        )  # fmt: skip
    drops = {"fp32_top1": judge.fp32.top1, "top1_drop_points": measured[left], "images": judge.images}
    return left, drops


def _require_convertible(source: Path, files: tuple[Path, Path], ops: str) -> None:
    """Before anything is made of a model that nobody vouches for: what the passes die of is found in a child."""
    from qat8.int8 import passes

    asked = passes.op_set(ops)
    trial.require_sound(source, files, lambda: passes.convert(passes.load(str(files[0].with_suffix("")), True), asked))


def _convert(program_file: Path, ops: str, directory: Path, left_out: frozenset[str], fp32: Path | None, reduced: bool):
    from qat8.int8 import compact, inspection, passes
    from qat8.saving import save_model

    asked = passes.op_set(ops)
    loaded = passes.load(str(program_file.with_suffix("")))
    passes.require_qat(loaded, str(program_file.parent))
    before = loaded.types()
    if left_out:
        _unround(loaded, left_out, fp32)
    program = passes.convert(loaded, asked, lambda name: name not in left_out, reduced)
    compact.compact(program, loaded.scope)
    save_model(program, loaded.feeds, loaded.fetches, loaded.executor, loaded.scope, directory)
    # Read back: what counts is what is in the file.
    saved = passes.load(str(directory / "model"), ours=True)
    return inspection.inspect(before, saved.program, asked, left_out)


def _unround(loaded, left_out: frozenset[str], fp32: Path) -> None:
    from qat8.int8 import fp32_weights, passes

    reference = passes.load(str(artifacts.model_files(fp32)[0].with_suffix("")))
    kept = fp32_weights.put_back(loaded.program, loaded.scope, reference.scope, lambda name: name not in left_out)
    if kept:
        say(f"  weights that stay rounded, for {fp32} has none of these names: {', '.join(kept)}")


def _require_int8(found) -> None:
    if not found.int8_convolutions:
        raise VerificationError(
            f"0 of {found.convolutions} convolutions were quantized", "all of them",
            "conv2d must be in --quantized-ops, and in quantize_op_types when the model was trained",
        )  # fmt: skip


def _agreement(qat: Path, int8: Path, data: Path, least: float) -> float:
    from qat8.prediction import predictor

    fitting.require(qat, data)
    threads = len(os.sched_getaffinity(0))
    with datafile.Reader(data) as reader, step("comparing INT8 with the QAT model"):
        reference, candidate = predictor(qat, threads, native=True), predictor(int8, threads, ours=True)
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


if __name__ == "__main__":
    cli.run(main)
