"""A saved model -> where its time goes, operator by operator.

data/profiles/MODEL-PRECISION-bBATCH-tTHREADS/profile.{json,csv,txt,png,svg}
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Console

from qat8 import artifacts, cli, environment, fitting, instructions, manifests, processes
from qat8.console import say
from qat8.errors import MachineError, UsageError
from qat8.models import registry

PROFILES = artifacts.DATA / "profiles"
TEXT_WIDTH = 184  # columns of profile.txt, and of a terminal that is not one
NARROW = 140  # a terminal of fewer columns gets the short form of the operators' table


@dataclass(frozen=True)
class Subject:
    model: str
    precision: str
    directory: Path


def parser(prog: str) -> cli.Parser:
    p = cli.Parser(prog=prog, description="show where a model's time goes, operator by operator")
    p.flag("model", default=registry.DEFAULT, help="which model")
    p.flag(
        "precision",
        default="int8",
        choices=["int8", "fp32", "qat", "bf16"],
        help="which of data/models/MODEL/; bf16: the FP32 model, run in bfloat16",
    )
    p.flag("model-path", default=None, help="directory of the model (None: data/models/MODEL/PRECISION)")
    p.flag("batch-size", type=cli.positive_int, default=50, help="images of a run")
    p.flag("num-threads", type=cli.positive_int, default=1, help="CPU threads")
    p.flag("cpus", default=None, help="CPUs to pin to, e.g. 0-3 (None: all that this process may use)")
    p.flag("iterations", type=cli.positive_int, default=10, help="runs; times are medians over them")
    p.flag("warmup", type=cli.positive_int, default=2, help="runs before them")
    p.flag("data-file", default=str(artifacts.EMBEDDED / "val.bin"), help="preprocessed images")
    p.flag("output-dir", default=None, help="where it goes (None: under data/profiles)")
    return p


def main(argv: list[str]) -> None:
    args = parser("profile").parse_args(argv)
    name = registry.get(args.model).name
    if args.precision == "bf16" and not instructions.has_bf16():
        raise MachineError(
            "this CPU has no bfloat16 (avx512_bf16 or amx_bf16) that oneDNN may use",
            next_step="--precision=fp32 or int8",
        )
    kind = {"bf16": "fp32"}.get(args.precision, args.precision)
    subject = Subject(name, args.precision, Path(args.model_path or artifacts.DATA / "models" / name / kind))
    cpus = processes.parse_cpus(args.cpus) if args.cpus else sorted(os.sched_getaffinity(0))
    if args.num_threads > len(cpus):
        raise UsageError(f"--num-threads {args.num_threads} on {len(cpus)} CPUs", f"at most {len(cpus)}")
    default = PROFILES / f"{name}-{args.precision}-b{args.batch_size}-t{args.num_threads}"
    build(subject, args, cpus[: args.num_threads], Path(args.output_dir or default))


def build(subject: Subject, args, cpus: list[int], target: Path) -> None:
    """Profile, write, show.

    Raises:
        ModelError, DataError: the model or the images are missing, or do not belong together.
    """
    artifacts.model_files(subject.directory)
    count = fitting.require(subject.directory, Path(args.data_file), subject.model)
    with artifacts.exclusive(target), artifacts.atomic_directory(target) as directory:
        profile = _profile(subject, args, cpus, repeated=count < args.batch_size)
        _write(profile, directory)
        config = {k: v for k, v in vars(args).items() if k not in ("output_dir", "model_path")}
        inputs = {"model": artifacts.sha256(subject.directory), "data": artifacts.sha256(Path(args.data_file))}
        outputs = manifests.outputs_of(directory)
        manifests.write(directory / "manifest.json", "profile", config, inputs, outputs)
    _show(profile)
    say(f"profile: {artifacts.shown(target)}")


def _profile(subject: Subject, args, cpus: list[int], repeated: bool):
    from qat8.profiling import assemble, collect, record

    collected = collect.collect(
        collect.Settings(subject.directory, Path(args.data_file), args.batch_size, args.num_threads, cpus,
                         args.iterations, args.warmup, subject.precision == "bf16")
    )  # fmt: skip
    steps = assemble.steps(collected.calls, subject.directory)
    return record.Profile(
        model=subject.model, precision=subject.precision, directory=artifacts.shown(subject.directory),
        batch_size=args.batch_size, threads=args.num_threads, cpus=cpus, cpu=environment.cpu()["model"],
        paddle=metadata.version("paddlepaddle"), onednn=collected.onednn, images_repeated=repeated,
        runs_ms=[run.ms for run in collected.plain], logged_runs_ms=[run.ms for run in collected.logged],
        before_ms=collected.before_ms, steps=steps,
        left=assemble.left(steps, subject.directory) if subject.precision == "int8" else [],
    )  # fmt: skip


def _write(profile, directory: Path) -> None:
    from qat8.profiling import plot, tables

    (directory / "profile.json").write_text(profile.model_dump_json(by_alias=True, indent=1) + "\n")
    (directory / "profile.csv").write_text(tables.csv_text(profile))
    with open(directory / "profile.txt", "w") as out:
        _print(profile, Console(file=out, width=TEXT_WIDTH, highlight=False))
    for name, content in plot.pictures(profile).items():
        (directory / name).write_bytes(content)


def _show(profile) -> None:
    console = Console(highlight=False)
    _print(profile, console if console.is_terminal else Console(highlight=False, width=TEXT_WIDTH))


def _print(profile, console: Console) -> None:
    from qat8.profiling import tables

    for table in tables.all_tables(profile, narrow=console.width < NARROW):
        console.print(table, "")
    console.print(
        f"oneDNN {profile.onednn}, Paddle {profile.paddle}, {profile.cpu}, CPUs {profile.cpus}. "
        f"A run takes {profile.total_ms:.3f} ms, {profile.logged_ms:.3f} ms with oneDNN's log on."
        + (" The data file holds fewer images than the batch: they are repeated." if profile.images_repeated else "")
    )
    if profile.disturbed:
        console.print("warning: the two differ by more than a log costs: the machine was disturbed, so profile again")


if __name__ == "__main__":
    cli.run(main)
