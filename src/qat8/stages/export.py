"""Saved FP32 and INT8 models -> files of our own engine, with INT8 weights: data/models/MODEL/engine/{fp32,int8}.qat8.

`inv benchmark --testers=cpp,engine` measures them beside Paddle's predictor.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from qat8 import artifacts, cli, instructions, manifests, trial
from qat8.console import say, step
from qat8.errors import UsageError
from qat8.export import DIRECTORY, engine_file
from qat8.models import registry

PRECISIONS = ("fp32", "int8")


def parser(prog: str) -> cli.Parser:
    p = cli.Parser(prog=prog, description="write the models as files of our own engine (docs/engine.md)")
    p.flag("model", default=registry.DEFAULT, help="gives the default paths data/models/MODEL/{fp32,int8,engine}")
    p.flag("fp32-model", default=None, help="directory of the FP32 model")
    p.flag("int8-model", default=None, help="directory of the INT8 model")
    return p


def main(argv: list[str], prog: str = "export") -> None:
    args = parser(prog).parse_args(argv)
    home = artifacts.DATA / "models" / registry.get(args.model).name
    sources = {"fp32": Path(args.fp32_model or home / "fp32"), "int8": Path(args.int8_model or home / "int8")}
    parents = {path.parent.resolve() for path in sources.values()}
    if len(parents) > 1:
        raise UsageError("--fp32-model and --int8-model lie in different directories", "one, which gets engine/")
    build(sources)


def build(sources: dict[str, Path]) -> None:
    """Write both files, or neither.

    Raises:
        ModelError: a model is missing, or holds what the engine does not compute.
    """
    for source in sources.values():
        artifacts.model_files(source)
    target = engine_file(sources["int8"], "int8").parent
    inputs = {precision: artifacts.sha256(source) for precision, source in sources.items()}
    config = {"exporter": artifacts.sha256(Path(__file__).parents[1] / "export")}
    with artifacts.exclusive(target):
        if manifests.up_to_date(target, "export", config, inputs):
            say(f"engine's files are up to date: {artifacts.shown(target)}")
            return
        for line in instructions.shortcomings():
            say(f"warning: {line}")
        with artifacts.atomic_directory(target) as directory:
            sizes = {precision: _export(source, precision, directory) for precision, source in sources.items()}
            carried = manifests.read(sources["int8"]) or {}
            manifests.write(
                directory / "manifest.json", "export", config, inputs, manifests.outputs_of(directory), kind=DIRECTORY,
                model=carried.get("model"), bytes=sizes, preprocessing=manifests.preprocessing_of(sources["int8"]),
            )  # fmt: skip
    say(f"engine's files: {artifacts.shown(target)}")


def _export(source: Path, precision: str, directory: Path) -> int:
    from qat8.export import file, program

    path = directory / f"{precision}.qat8"
    files = artifacts.model_files(source)
    with step(f"exporting {artifacts.shown(source)}"), trial.blamed_on(source, files):
        trial.require_sound(source, files, lambda: program.export(source, precision))
        plan = program.export(source, precision)
        size = file.write(path, plan)
    saved = sum(p.stat().st_size for p in artifacts.model_files(source))
    kinds = Counter(op.kind.replace("_", " ") for op in plan.operators)
    say(f"  {path.name}: {', '.join(f'{count} x {kind}' for kind, count in sorted(kinds.items()))}")
    say(f"  {path.name}: {size / 1e6:.1f} MB, Paddle's model is {saved / 1e6:.1f} MB")
    return size


if __name__ == "__main__":
    cli.run(main)
