"""Testers at work for long -> whether memory, open files and threads stay flat: data/soak/RUN/soak.{json,png,svg}.

A batch size of 50 means that one; 1-64 means every size from 1 to 64 in turn, in one process.
"""

from __future__ import annotations

import datetime
import os
import re
import sys
from pathlib import Path

from qat8 import artifacts, cli, environment, export, fitting, manifests, processes
from qat8.benchmarking import built
from qat8.benchmarking.plan import ENGINE, TESTER_DIR, TESTERS
from qat8.console import say
from qat8.errors import UsageError, VerificationError
from qat8.models import registry
from qat8.soak import judge, record

SOAKS = artifacts.DATA / "soak"
_KINDS = ("cpp", ENGINE)


def parser(prog: str) -> cli.Parser:
    p = cli.Parser(prog=prog, description="let testers work for long and say whether their memory stays flat")
    p.flag("model", default=registry.DEFAULT, help="which model")
    p.flag("precision", default="int8", choices=["int8", "fp32"], help="which of data/models/MODEL/")
    p.flag("model-path", default=None, help="directory of the model (None: data/models/MODEL/PRECISION)")
    p.flag("data-file", default=str(artifacts.EMBEDDED / "val.bin"), help="preprocessed images")
    p.flag("testers", default="cpp", help=f"by comma: {', '.join(_KINDS)}")
    p.flag("batch-sizes", default="1,50,1-64", help="by comma; 1-64: every size of them in turn")
    p.flag("instances", type=cli.positive_int, default=1, help="processes of each tester and batch size; all at once")
    p.flag("num-threads", type=cli.positive_int, default=1, help="CPU threads of a process")
    p.flag("minutes", type=float, default=30.0, help="how long")
    p.flag("every", type=float, default=5.0, help="seconds from sample to sample")
    p.flag("output-dir", default=None, help="where it goes (None: data/soak/RUN)")
    return p


def main(argv: list[str]) -> None:
    args = parser("soak").parse_args(argv)
    if not 0 < args.minutes < float("inf") or not 0 < args.every <= args.minutes * 60:
        raise UsageError(f"--minutes={args.minutes:g} --every={args.every:g}", "a time, and shorter steps")
    model = Path(args.model_path or artifacts.DATA / "models" / registry.get(args.model).name / args.precision)
    artifacts.model_files(model)
    fitting.require(model, Path(args.data_file))
    commands = _commands(args, model)
    created = datetime.datetime.now(datetime.timezone.utc)
    run_id = f"{created:%Y%m%d-%H%M%S}-{os.getpid()}"
    target = Path(args.output_dir or SOAKS / run_id)
    with artifacts.exclusive(target), artifacts.atomic_directory(target) as directory:
        say(f"{len(commands)} processes for {args.minutes:g} minutes")
        found = _soak(args, commands, model, run_id, created)
        _write(found, directory, args)
    _show(found)
    say(f"soak: {artifacts.shown(target / 'soak.png')}")
    if bad := found.growing + found.changing:
        raise VerificationError(bad[0], "memory, files, threads and classes that stay as they are",
                                f"look at {artifacts.shown(target)}")  # fmt: skip


def _soak(args, commands: dict[str, list[str]], model: Path, run_id: str, created: datetime.datetime) -> record.Soak:
    from qat8.soak import watch

    seconds = args.minutes * 60
    settings = processes.openmp(args.num_threads) | {"KMP_AFFINITY": "disabled"}  # several share the CPUs here
    done = watch.watch(commands, settings, seconds, args.every)
    versions = {name: environment.version_of(name) for name in environment.PACKAGES}
    return record.Soak(
        run_id=run_id, created=created.isoformat(timespec="seconds"), command=["inv", "soak", *sys.argv[1:]],
        seconds=seconds, every_seconds=args.every, cpu=environment.cpu()["model"], versions=versions,
        git_commit=environment.git_commit(), model=args.model, model_sha256=artifacts.sha256(model),
        data=artifacts.shown(Path(args.data_file)), processes=done,
    )  # fmt: skip


def _commands(args, model: Path) -> dict[str, list[str]]:
    """Name -> argv of each process."""
    found = {}
    for tester in args.testers.split(","):
        if tester not in _KINDS:
            raise UsageError(f"--testers: {tester!r}", f"some of {', '.join(_KINDS)}")
        built.require(Path(TESTERS[tester][-1]), TESTER_DIR)
        subject = model
        if tester == ENGINE:
            subject = export.engine_file(model, args.precision)
            export.require_made_from(model, args.precision)
        for batch in args.batch_sizes.split(","):
            flags = [f"--infer_model={subject}", f"--infer_data={args.data_file}", f"--num_threads={args.num_threads}",
                     "--scenario=soak", f"--duration={args.minutes * 60:g}", *_sizes(batch)]  # fmt: skip
            for i in range(args.instances):
                instance = f", instance {i + 1}" if args.instances > 1 else ""
                found[f"{tester}, batch {batch}{instance}"] = [*TESTERS[tester], *flags]
    return found


def _sizes(text: str) -> list[str]:
    match = re.fullmatch(r"(1-)?([1-9]\d{0,5})", text)
    if not match:
        raise UsageError(f"--batch-sizes: {text!r}", "a number, or 1-NUMBER for all sizes up to it")
    return [f"--batch_size={match[2]}", *(["--vary_batch"] if match[1] else [])]


def _write(found: record.Soak, directory: Path, args) -> None:
    from qat8.soak import plot

    (directory / "soak.json").write_text(found.model_dump_json(indent=None) + "\n")
    for name, content in plot.pictures(found).items():
        (directory / name).write_bytes(content)
    config = {k: v for k, v in vars(args).items() if k != "output_dir"}
    manifests.write(directory / "manifest.json", "soak", config, {"model": found.model_sha256},
                             manifests.outputs_of(directory))  # fmt: skip


def _show(found: record.Soak) -> None:
    for process in found.processes:
        say(f"  {process.name}: {process.images} images, {process.rounds} rounds of its batch sizes, "
            f"{process.other_class} in another class than the first time")  # fmt: skip
        say(f"    {'; '.join(map(_words, process.growth))}")


def _words(g: record.Growth) -> str:
    unit, text = (judge.MIB, " MiB") if g.quantity in ("anonymous", "rss") else (1, "")
    grown = f"{g.growth / unit:+.2f} of at most {g.limit / unit:.2f}" if unit > 1 else f"{g.growth:+.0f}"
    digits = 1 if unit > 1 else 0
    moved = f"{g.start / unit:.{digits}f} to {g.end / unit:.{digits}f}{text} ({grown})"
    return f"{g.quantity} {moved}{'' if g.ok else ', GROWS'}"


if __name__ == "__main__":
    cli.run(main)
