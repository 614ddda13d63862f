"""Measure on many servers (`inv benchmark --hosts`): the benchmark's flags, on each host, into one file."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from rich.table import Table

from qat8 import artifacts, cli, environment, results
from qat8.console import console, say
from qat8.containers import build, engine, fleet, hosts, images
from qat8.errors import StageError, UsageError
from qat8.models import registry
from qat8.runtimes.docker import PASSED_ON

HOSTS_FILE = artifacts.REPOSITORY / "hosts.toml"


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="benchmark_hosts", description=__doc__)
    parser.flag("hosts", required=True, help="names of hosts.toml or Docker contexts, by comma")
    parser.flag("hosts-file", default=str(HOSTS_FILE), help="which hosts.toml")
    parser.flag("models", default=registry.DEFAULT, help="models, by comma")
    parser.flag("data-file", default=str(artifacts.EMBEDDED / "val.bin"), help="images")
    parser.flag("image", default="", help=f"image (empty: {images.WHEEL_TAG})")
    parser.flag("host-timeout", type=cli.positive_int, default=30, help="seconds after which a silent host is given up")
    args, others = parser.parse_known_args(argv)
    forbidden = [word for word in others if word.startswith(("--output", "--fp32-model", "--int8-model", "--reuse"))]
    if forbidden:
        raise UsageError(f"{forbidden[0]} with --hosts", "the models and results of data/")
    chosen = hosts.select(args.hosts, Path(args.hosts_file))
    names = [registry.get(name).name for name in args.models.split(",")]
    tag = args.image or images.default_tag()
    with engine.connect() as client:
        build.require_current(engine.image(client, tag), tag)
    jobs = [job for name in names for job in _jobs(name, Path(args.data_file), list(chosen))]
    key = artifacts.fingerprint([others, tag, build.source_digest(), [job.digests for job in jobs], names])[:16]
    run_id = f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S}-{os.getpid()}"
    directory = artifacts.DATA / "fleet" / key
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    passed["QAT8_GIT_COMMIT"] = environment.git_commit() or ""
    shared = fleet.Fleet(tag, others, run_id, directory, passed, args.host_timeout)
    with artifacts.exclusive(directory):
        failed = fleet.run(shared, chosen, jobs)
        path = fleet.gather(shared, jobs, chosen, failed)
    _table(shared, jobs, failed)
    say(f"results of all hosts: {artifacts.shown(path)}")
    if failed:
        said = "; ".join(f"{host}, {model}: {why}" for (host, model), why in failed.items())
        raise StageError(f"{len(failed)} of {len(jobs)} jobs failed: {said}",
                         next_step="the same command again does only these")  # fmt: skip


def _jobs(model: str, data: Path, names: list[str]) -> list[fleet.Job]:
    paths = {p: artifacts.DATA / "models" / model / p for p in fleet.PRECISIONS}
    for directory in paths.values():
        artifacts.model_files(directory)
    if not data.is_file():
        raise UsageError(f"--data-file {data} is no file", next_step="inv preprocess")
    paths["data"] = data
    digests = {kind: artifacts.sha256(path) for kind, path in paths.items()}
    return [fleet.Job(name, model, paths, digests) for name in names]


def _table(shared: fleet.Fleet, jobs: list[fleet.Job], failed: dict) -> None:
    table = Table("host", "model", "CPU", "INT8/FP32", title=f"run {shared.run_id}")
    for job in jobs:
        if not shared.file(job).is_file():
            table.add_row(job.host, job.model, "failed", failed.get((job.host, job.model), "not run"))
            continue
        found = results.load(shared.file(job))
        ratios = ", ".join(f"{c.speedup:.2f} ({c.tester}, {c.threads} t, bs {c.batch_size})" for c in found.comparisons)
        table.add_row(job.host, job.model, found.environment.cpu["model"], ratios)
    console.print(table)


if __name__ == "__main__":
    cli.run(main)
