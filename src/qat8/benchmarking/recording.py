"""A run of `inv benchmark` from its plan to its results file, with what it was measured with and on."""

from __future__ import annotations

import datetime
import itertools
import os
import sys
from pathlib import Path

import numpy as np

from qat8 import artifacts, environment, manifests, peers, redact, results
from qat8.benchmarking import inputs, load_summary, loads, measure, peak, peer_summary, summary, validity
from qat8.benchmarking import plan as planning
from qat8.benchmarking.plan import Plan
from qat8.console import say


def record(
    plan: Plan, subsets: list[dict], labels: np.ndarray, identity: str, output: Path | None, max_drop: float,
    directory: Path,
) -> results.Results:  # fmt: skip
    """Measure all of the plan, judge it, and write it to `output`, or below `directory` under the run's own name.

    `labels`: the right class of each image of the data files; `max_drop`: a fraction of 1.
    """
    created = datetime.datetime.now(datetime.timezone.utc)
    run_id = _run_id(created, directory)
    _say_what(plan)
    before = _checksums(plan)
    logs, bf16_logs = ({m: measure.kernels(plan, m, p) for m in plan.models} if p in plan.precisions else {}
                       for p in ("int8", planning.BF16))  # fmt: skip
    measured = measure.measure(plan)
    path = output or directory / f"{run_id}.json"
    found = loads.measure(plan, path.with_suffix(loads.RAW))
    changed = [artifacts.shown(path) for path, was in before.items() if inputs.checksum(path) != was]
    gates = summary.gates(plan, measured, labels, subsets, max_drop)
    kernels, bf16 = ({model: seen.kernels for model, seen in log.items()} for log in (logs, bf16_logs))
    checks = validity.checks(plan, measured, kernels, changed, gates, bf16) + peer_summary.checks(plan, measured)
    checks += load_summary.checks(found, summary.predictions(plan, measured)) + environment.container_checks()
    reasons = results.reasons(checks)
    data, first = {name: _artifact(path) for name, path in _data_files(plan).items()}, next(iter(plan.models))
    run = results.Results(
        revision=results.REVISION, run_id=run_id, created=created.isoformat(timespec="seconds"), identity=identity,
        quick=plan.quick, runtime=environment.runtime(), command=["inv", "benchmark", *redact.command(sys.argv[1:])],
        environment=environment.record(checks, _onednn(logs, bf16_logs), peak.measure(plan.cpus[0])),
        models={n: {p: _artifact(d) for p, d in ds.items()} for n, ds in plan.models.items()},
        engine_files={n: {p: _artifact(f) for p, f in fs.items()} for n, fs in plan.engine_files().items()},
        data=next(iter(data.values())), more_data={m: a for m, a in data.items() if a.path != data[first].path},
        untrained=sorted(plan.untrained),
        runs=summary.runs(plan, measured) + load_summary.runs(found),
        comparisons=summary.comparisons(plan, measured) + load_summary.comparisons(found),
        bf16_comparisons=summary.comparisons(plan, measured, planning.BF16),
        peers=peer_summary.comparisons(plan, measured), scenarios=found.scenarios, instances=found.instances,
        accuracy=summary.accuracy(plan, measured, labels, subsets), gates=gates,
        operations_per_image={model: seen.operations for model, seen in logs.items()},
        verdict="INVALID" if reasons else "VALID", reasons=reasons,
    )  # fmt: skip
    with artifacts.atomic_file(path) as temporary:
        temporary.write_text(results.dump(run))
    _say(run)
    say(f"results: {artifacts.shown(path)}")
    return run


def identity(plan: Plan) -> str:
    """Of everything that the figures depend on and that is a file or a setting."""
    files = {f"{n}/{p}": inputs.checksum(d) for n, ds in plan.models.items() for p, d in ds.items()}
    testers = {t: inputs.checksum(Path(planning.TESTERS[t][-1])) for t in plan.testers}
    for n, peer, p in itertools.product(plan.models, plan.peers, planning.PRECISIONS):
        files[f"{n}/{peer}/{p}"] = inputs.checksum(peers.directory(n, peer, p))
    files |= {f"{n}/engine/{p}": inputs.checksum(f) for n, fs in plan.engine_files().items() for p, f in fs.items()}
    machine = [environment.cpu()]
    if inside := environment.container():
        machine.append({name: inside[name] for name in ("image_id", "cpus", "nodes", "memory")})
    return artifacts.fingerprint(
        [files, testers, *map(inputs.checksum, _data_files(plan).values()), plan.settings(), *machine]
    )


def _run_id(created: datetime.datetime, directory: Path) -> str:
    """Of the time and the process: both come again when a clock is set back, in containers above all."""
    base = f"{created:%Y%m%d-%H%M%S}-{os.getpid()}"
    numbered = (f"{base}-{n}" if n else base for n in itertools.count())
    return next(name for name in numbered if not (directory / f"{name}.json").exists())


def _say_what(plan: Plan) -> None:
    *first, last = [precision.upper() for precision in plan.precisions]
    say(f"{len(plan.cells())} configurations x {', '.join(first)} and {last} x {plan.repetitions} repetitions, "
        f"CPUs {plan.cpus}")  # fmt: skip
    if others := [name for name in plan.peers if plan.precisions_of(name) != plan.precisions]:
        say(f"  not in BF16: {', '.join(others)}")


def _checksums(plan: Plan) -> dict[Path, str]:
    testers = [Path(planning.TESTERS[tester][-1]) for tester in plan.testers]
    paths = [*_data_files(plan).values(), *(d for ds in plan.models.values() for d in ds.values()), *testers]
    paths += [peers.directory(n, peer, p) for n in plan.models for peer in plan.peers for p in planning.PRECISIONS]
    paths += [file for files in plan.engine_files().values() for file in files.values()]
    return {path: inputs.checksum(path) for path in paths}


def _data_files(plan: Plan) -> dict[str, Path]:
    return {name: plan.data_of(name) for name in plan.models}


def _artifact(path: Path) -> results.Artifact:
    manifest = manifests.read(path)
    size = sum(f.stat().st_size for f in ([path] if path.is_file() else artifacts.model_files(path)))
    return results.Artifact(path=artifacts.shown(path), sha256=inputs.checksum(path), manifest=manifest, bytes=size)


def _onednn(logs: dict, bf16_logs: dict) -> dict:
    """What the library said of itself, and the INT8 and BF16 kernels that it really ran, by model."""
    said = next((seen.library for seen in logs.values()), {})
    ran = {"kernels": logs} | ({"bf16_kernels": bf16_logs} if bf16_logs else {})
    return {**said, **{name: {m: seen.kernels.names for m, seen in found.items()} for name, found in ran.items()}}


def _say(run: results.Results) -> None:
    for check in run.environment.validity:
        say(f"  {check.word:7} {check.check}: {check.detail}")
    if run.quick:
        say("  a quick run: good for a look, not for a claim")
    say(f"{run.verdict}" + (f" for {len(run.reasons)} reasons" if len(run.reasons) > 1 else ""))
