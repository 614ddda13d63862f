"""FP32 and INT8 models x testers x threads x batch sizes -> one results file (`results.Results`)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from qat8 import (
    artifacts,
    cli,
    datafile,
    export,
    fitting,
    instructions,
    manifests,
    peers,
    processes,
    results,
    tracking,
)
from qat8.benchmarking import (
    cores,
    gate,
    inputs,
    load,
    loads,
    recording,
    summary,
)
from qat8.benchmarking import plan as planning
from qat8.console import say
from qat8.errors import DataError, UsageError, VerificationError
from qat8.models import registry

RESULTS = artifacts.DATA / "results"
QUICK = {"repetitions": 2, "min_seconds": 0.3}
QUICK_QUERIES = 200  # at which p99 is the third largest latency


def parser(prog: str) -> cli.Parser:
    p = cli.Parser(prog=prog, description="measure FP32 against INT8")
    p.flag("models", default=registry.DEFAULT, help="models, by comma")
    p.flag("fp32-model", default=None, help="directory of the FP32 model (None: data/models/MODEL/fp32)")
    p.flag("int8-model", default=None, help="directory of the INT8 model (None: data/models/MODEL/int8)")
    p.flag(
        "data-file",
        default=str(artifacts.EMBEDDED / "val.bin"),
        help="preprocessed images; {model} stands for the name",
    )
    p.flag("testers", default=None, help="by comma (None: cpp,python; cpp where more is asked for below)")
    p.flag("precisions", default=",".join(planning.PRECISIONS), help="by comma; bf16: also the FP32 models in bfloat16")
    p.flag("peers", default="", help=f"also other engines, by comma: {', '.join(peers.NAMES)}")
    p.flag(
        "threads", default=None, help="thread counts, by comma; all: every CPU of --cpus (None: 1,all; with them: 1)"
    )
    p.flag("batch-sizes", default=None, help="by comma (None: 1,50; so: 50)")
    p.flag("cpus", default=None, help="CPUs to pin to, e.g. 0-3 (None: all that this process may use)")
    p.flag("repetitions", type=cli.positive_int, default=5, help="processes per configuration")
    p.flag("min-seconds", type=float, default=3.0, help="least measured time of a process")
    p.flag("warmup", type=cli.count, default=2, help="batches before the measurement")
    p.flag("quick", default=False, help=f"{QUICK['repetitions']} short repetitions; the results say so")
    p.flag("scenario", default=None, help="also single-stream, offline, server, by comma (docs/scenarios.md)")
    p.flag("target-latency-ms", type=float, default=0.0, help="server: what p99 must not exceed")
    p.flag("duration", type=float, default=None, help="least seconds of a scenario or probe (None: --min-seconds)")
    p.flag("min-queries", type=cli.count, default=0, help="least queries of single-stream and of a probe (0: 1024)")
    p.flag("instances", default=None, help="also so many processes at once on cores of their own; auto: as fit")
    p.flag(
        "cores-per-instance", type=cli.positive_int, default=None, help="(None: 1 with auto, else all cores shared out)"
    )
    p.flag("sweep", default=False, help="also all splits into instances x cores, and the scaling of one instance")
    p.flag("max-top1-drop", type=float, default=gate.MAX_TOP1_DROP, help="points of top-1 that INT8 may lose; exit 7")
    p.flag("strict", default=False, help="exit 7 when the run is INVALID for any reason")
    p.flag("mlflow", default=None, metavar="URI", help="also log the run to this MLflow store (docs/trust.md)")
    p.flag("reuse", default=False, help="do nothing when the same was measured before")
    p.flag("output", default=None, help="results file (None: data/results/RUN_ID.json)")
    return p


def main(argv: list[str], prog: str = "benchmark") -> None:
    args = parser(prog).parse_args(argv)
    if not 0 <= args.min_seconds < float("inf"):
        raise UsageError(f"--min-seconds={args.min_seconds}", "0 or more")
    if args.mlflow:
        tracking.require()
    if not 0 <= args.max_top1_drop <= 100:
        raise UsageError(f"--max-top1-drop={args.max_top1_drop}", "points, 0 to 100")
    plan = _plan(args)
    subsets, labels = _read_data(plan)
    identity = recording.identity(plan)
    if args.reuse and (found := _measured_before(identity)):
        say(f"measured before with these models, data and settings: {artifacts.shown(found)}")
        return
    output = Path(args.output) if args.output else None
    if output and not output.parent.is_dir():
        raise UsageError(f"--output: there is no directory {output.parent}")
    if output and plan.load.scenarios:
        artifacts.require_replaceable(output.with_suffix(loads.RAW))
    for line in instructions.shortcomings():
        say(f"warning: {line}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    with artifacts.exclusive(RESULTS / "benchmark"):
        loads.remove_leftovers(RESULTS)
        if output:
            artifacts.remove_leftovers(output)
        record = recording.record(plan, subsets, labels, identity, output, args.max_top1_drop / 100, RESULTS)
    if args.mlflow:
        run = tracking.log(record, output or RESULTS / f"{record.run_id}.json", args.mlflow)
        say(f"MLflow run {run} in {args.mlflow}")
    _enforce(record, args.strict)


def _plan(args) -> planning.Plan:
    names = [registry.get(name).name for name in args.models.split(",")]
    if len(names) > 1 and (args.fp32_model or args.int8_model):
        raise UsageError("--fp32-model or --int8-model with several models", "one model")
    beyond = bool(args.scenario or args.instances or args.sweep)
    testers = (args.testers or ("cpp" if beyond else "cpp,python")).split(",")
    planning.require_testers([*testers, "cpp"] if beyond else testers)
    cpus = processes.parse_cpus(args.cpus) if args.cpus else sorted(os.sched_getaffinity(0))
    try:
        batches = [cli.positive_int(word) for word in _or(args.batch_sizes, "50" if beyond else "1,50").split(",")]
    except Exception as e:
        raise UsageError(f"--batch-sizes: {e}", "numbers from 1, by comma") from None
    chosen = peers.parse(args.peers)
    peers.require(chosen)
    given = {"fp32": args.fp32_model, "int8": args.int8_model}
    models = {n: {p: Path(given[p] or artifacts.DATA / "models" / n / p) for p in planning.PRECISIONS} for n in names}
    amount = QUICK if args.quick else {"repetitions": args.repetitions, "min_seconds": args.min_seconds}
    threads = planning.thread_counts(_or(args.threads, "1" if beyond else "1,all"), cpus)
    return planning.Plan(
        models, Path(args.data_file), testers, threads, batches, cpus,
        warmup=args.warmup, quick=args.quick, load=_load(args, cpus, amount["min_seconds"]),
        peers=tuple(chosen), untrained=_untrained(models),
        precisions=planning.precisions(args.precisions, beyond), **amount,
    )  # fmt: skip


def _untrained(models: dict[str, dict[str, Path]]) -> frozenset[str]:
    return frozenset(name for name, pair in models.items() if any(map(manifests.is_untrained, pair.values())))


def _or(given: str | None, fallback: str) -> str:
    return fallback if given is None else given


def _load(args, cpus: list[int], min_seconds: float) -> load.Load:
    names = load.scenarios(args.scenario)
    target, duration = args.target_latency_ms, min_seconds if args.duration is None else args.duration
    if not 0 <= duration < float("inf"):
        raise UsageError(f"--duration={duration}", "0 or more seconds")
    if "server" in names and not 0 < target < float("inf"):
        raise UsageError("--scenario=server without a target", "--target-latency-ms; MLPerf's for ResNet50 is 15")
    if target and "server" not in names:
        raise UsageError("--target-latency-ms without --scenario=server")
    splits = load.splits(args.instances, args.cores_per_instance, args.sweep, cores.nodes_of(cpus))
    if not names and not splits and (args.duration is not None or args.min_queries):
        raise UsageError("--duration or --min-queries without --scenario, --instances or --sweep")
    least = args.min_queries or (QUICK_QUERIES if args.quick else 0)
    return load.Load(names, target, duration, least, splits) if names or splits else load.NO_LOAD


def _read_data(plan: planning.Plan):
    """The subsets and the labels; refuses a data file that was preprocessed for another model.

    Raises:
        DataError, ModelError: what is to be measured is missing, broken, or does not fit together.
    """
    first = next(iter(plan.models))
    labels = _labels(plan.data_of(first))
    for name, directories in plan.models.items():
        path = plan.data_of(name)
        if path != plan.data_of(first) and not np.array_equal(_labels(path), labels):
            raise DataError(f"{path} has other labels than {plan.data_of(first)}", "the same images for every model")
        for directory in directories.values():
            artifacts.model_files(directory)
            fitting.require(directory, path, name)
        for precision in plan.engine_files().get(name, {}):
            export.require_made_from(directories[precision], precision)
        for peer in plan.peers:
            peers.require_made_from(name, peer, directories["fp32"])
    manifest = inputs.manifest_of(plan.data_of(first))
    whole = {"name": "all", "start": 0, "count": len(labels), "labels": "in the file", "used_in_training": False}
    return summary.subsets(manifest.get("subsets", [whole]), len(labels), plan.data_of(first)), labels


def _labels(path: Path) -> np.ndarray:
    with datafile.Reader(path) as reader:
        return reader.labels.copy()


def _measured_before(identity: str) -> Path | None:
    for path in sorted(RESULTS.glob("*.json"), reverse=True):
        try:
            if results.load(path).identity == identity:
                return path
        except DataError:
            continue
    return None


def _enforce(record: results.Results, strict: bool) -> None:
    """The exit code of a run whose results are written.

    Raises:
        VerificationError: INT8 or BF16 loses more than it may, or, where `strict` asks, the run is INVALID.
    """
    if failed := [gate for gate in record.gates if gate.outcome == "failed"]:
        advice = "train longer, or a wider limit" if failed[0].precision == "int8" else "a wider limit, or no bf16"
        raise VerificationError(f"{failed[0].subject}: {failed[0].detail}", next_step=advice)
    if strict and record.reasons:
        raise VerificationError(f"the run is INVALID: {record.reasons[0]}", "none of the checks to fail (--strict)")


if __name__ == "__main__":
    cli.run(main)
