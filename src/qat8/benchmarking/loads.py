"""Runs the scenarios and the instances of a plan: FP32 and INT8 in turn, as `measure` does for single processes."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qat8 import artifacts, latencies, manifests, processes, scenario_results
from qat8.benchmarking import cores, instances
from qat8.benchmarking.conditions import watch
from qat8.benchmarking.instances import Group
from qat8.benchmarking.plan import PRECISIONS, TESTERS, Plan
from qat8.console import Bar, say
from qat8.latencies import Queries
from qat8.older_python import zip_strict
from qat8.records import Latency
from qat8.scenario_results import Instances, ScenarioMeasurement, ScenarioRun
from qat8.statistics import median
from qat8.tester_run import Conditions

RAW = ".latencies"  # RUN.json -> RUN.latencies/, the raw latencies of its scenarios


@dataclass
class Loads:
    """What was measured, ready for the results file; `runs` are the testers' own records, for the checks."""

    scenarios: list[ScenarioMeasurement] = field(default_factory=list)
    instances: list[Instances] = field(default_factory=list)
    runs: list[tuple[str, str, list[int], ScenarioRun]] = field(default_factory=list)  # model, precision, CPUs
    conditions: list[tuple[str, str, Conditions]] = field(default_factory=list)  # model, precision, of each measurement


def measure(plan: Plan, raw: Path) -> Loads:
    """All scenarios and splits of the plan. The raw latencies of the scenarios go to files in the directory `raw`."""
    loads = Loads()
    if plan.load.scenarios:
        with artifacts.atomic_directory(raw) as directory:
            for name, model, threads in itertools.product(plan.load.scenarios, plan.models, plan.threads):
                _scenario(plan, loads, name, model, threads, directory)
            outputs = manifests.outputs_of(directory)
            manifests.write(directory / "manifest.json", "benchmark", plan.settings(), {}, outputs)
    nodes = cores.nodes_of(plan.cpus)
    for count, size in plan.load.splits:
        places = cores.places(nodes, size, count)
        for model in plan.models:
            for batch_size in plan.batch_sizes:
                _instances(plan, loads, model, batch_size, places, len(nodes))
    return loads


def remove_leftovers(directory: Path) -> None:
    """What killed runs left among the results; their names never come again. Under the benchmark's lock."""
    for suffix in (".json", RAW):
        for path in directory.glob(f".*{suffix}{artifacts.TEMPORARY}*"):
            artifacts.remove_leftovers(path.with_name(path.name[1:].partition(artifacts.TEMPORARY)[0]))
    for path in directory.glob(f"*{RAW}"):
        if path.is_dir() and not path.with_suffix(".json").exists():  # killed between the two
            say(f"removing the raw latencies of a run that has no results: {artifacts.shown(path)}")
            shutil.rmtree(path, ignore_errors=True)


def command(plan: Plan, model: str, precision: str, scenario: str, threads: int, images: int) -> list[str]:
    """The C++ tester's argv but for the files that it writes and the barrier."""
    load = plan.load
    flags = [
        f"--infer_model={artifacts.shown(plan.models[model][precision])}",
        f"--infer_data={artifacts.shown(plan.data_of(model))}",
        f"--scenario={scenario}",
        f"--batch_size={images}",
        f"--num_threads={threads}",
        f"--warmup_size={plan.warmup}",
        f"--duration={load.duration:g}",
    ]
    if scenario == "server":
        flags.append(f"--target_latency_ms={load.target_latency_ms:g}")
    if load.min_queries and scenario != "offline":
        flags.append(f"--min_queries={load.min_queries}")
    return [*TESTERS["cpp"], *flags]


def _in_turn(repetitions: int) -> Iterator[str]:
    """FP32 and INT8 by turns, whose order alternates, so that neither is always the first."""
    for repetition in range(repetitions):
        yield from PRECISIONS if repetition % 2 == 0 else PRECISIONS[::-1]


def _scenario(plan: Plan, loads: Loads, name: str, model: str, threads: int, raw: Path) -> None:
    repetitions = 1 if name == "server" else plan.repetitions  # a search confirms what it finds, and takes its time
    images = max(plan.batch_sizes) if name == "offline" else 1
    cpus = plan.cpus[:threads]
    made: dict[str, list[tuple[ScenarioRun, Path]]] = {p: [] for p in PRECISIONS}
    with Bar(f"{name}, {model}", len(PRECISIONS) * repetitions) as bar:
        for precision in _in_turn(repetitions):
            base = processes.pinned(cpus, command(plan, model, precision, name, threads, images))
            kept = raw / f"{model}-{precision}-{name}-{threads}-{len(made[precision])}.latencies"
            with watch(cpus) as seen:
                made[precision].append((_one(base, threads, kept), kept))
            loads.conditions.append((model, precision, seen.conditions))
            bar.advance(note=precision)
    for precision, pairs in made.items():
        runs = [run for run, _ in pairs]
        base = processes.pinned(cpus, command(plan, model, precision, name, threads, images))
        record = _record(model, precision, runs, [path for _, path in pairs], cpus, base)
        loads.scenarios.append(record)
        loads.runs += [(model, precision, cpus, run) for run in runs]
        say(f"  {model}, {precision.upper()}, {name}, {_threads(threads)}: {_said(record)}")


def _one(base: list[str], threads: int, kept: Path) -> ScenarioRun:
    with artifacts.scratch() as directory:
        json, raw = directory / "run.json", directory / "raw"
        processes.capture([*base, f"--json={json}", f"--latencies_file={raw}"], processes.openmp(threads))
        shutil.move(raw, kept)
        return scenario_results.load(json)


def _record(model, precision, runs: list[ScenarioRun], kept: list[Path], cpus, base) -> ScenarioMeasurement:
    first = runs[0]
    values = [metric(run) for run in runs]
    return ScenarioMeasurement(
        model=model, precision=precision, scenario=first.scenario, threads=first.num_threads,
        images_per_query=first.images_per_query, repetitions=values, metric=median(values),
        queries=sum(run.queries for run in runs), seconds=sum(run.seconds for run in runs),
        latency_ms=summary([latencies.load(path) for path in kept]), server=first.server,
        latencies_files=[path.name for path in kept], cpus=cpus, command=base,
    )  # fmt: skip


def metric(run: ScenarioRun) -> float:
    """What MLPerf counts: single-stream the 90th percentile in ms, offline images/s, server queries/s."""
    if run.scenario == "server":
        return run.server.rate
    return run.latency_ms.p90 if run.scenario == "single-stream" else run.images_per_second


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"


def _said(record: ScenarioMeasurement) -> str:
    if record.scenario == "offline":
        return f"{record.metric:.1f} images/s"
    if record.scenario == "single-stream":
        return f"p90 {record.metric:.2f} ms"
    target = f"p99 <= {record.server.target_latency_ms:g} ms"
    return f"{record.metric:.1f} queries/s with {target}" if record.metric else f"no rate with {target}"


def summary(queries: list[Queries]) -> Latency | None:
    """Over all raw latencies of all processes; None when there are none."""
    us = np.concatenate([q.latencies_us for q in queries])
    if not len(us):
        return None
    p50, p90, p99 = np.percentile(us, [50, 90, 99], method="inverted_cdf") / 1000
    return Latency(mean=us.mean() / 1000, p50=p50, p90=p90, p99=p99, min=us.min() / 1000, max=us.max() / 1000)


def _instances(plan: Plan, loads: Loads, model: str, batch_size: int, places: list[cores.Place], nodes: int) -> None:
    threads = len(places[0].cpus)
    bases = {
        precision: [
            cores.pinned(place, command(plan, model, precision, "offline", threads, batch_size), nodes)
            for place in places
        ]
        for precision in PRECISIONS
    }
    groups: dict[str, list[Group]] = {p: [] for p in PRECISIONS}
    what = f"{model}, {len(places)} x {_threads(threads)}, batch {batch_size}"
    with Bar(what, len(PRECISIONS) * plan.repetitions) as bar:
        for precision in _in_turn(plan.repetitions):
            with watch([cpu for place in places for cpu in place.cpus]) as seen:
                groups[precision].append(instances.run(bases[precision], threads))
            loads.conditions.append((model, precision, seen.conditions))
            bar.advance(note=precision)
    for precision in PRECISIONS:
        record = _instances_record(model, precision, batch_size, groups[precision], places, nodes, bases[precision][0])
        loads.instances.append(record)
        for group in groups[precision]:
            loads.runs += [(model, precision, list(p.cpus), r) for p, r in zip_strict(places, group.runs)]
    fp32, int8 = (record.images_per_second for record in loads.instances[-2:])
    say(f"  {what}: FP32 {fp32:.1f}, INT8 {int8:.1f} images/s together")


def _instances_record(model, precision, batch_size: int, groups: list[Group], places, nodes: int, base) -> Instances:
    per_instance = [group.images_per_second() for group in groups]
    totals = [sum(speeds) for speeds in per_instance]
    return Instances(
        model=model, precision=precision, instances=len(places), threads=len(places[0].cpus), batch_size=batch_size,
        images_per_second=median(totals), repetitions=totals, per_instance=per_instance,
        window_seconds=[group.window.seconds for group in groups],
        latency_ms=summary([q for group in groups for q in group.queries]),
        peak_rss_bytes=max(sum(run.peak_rss_bytes for run in group.runs) for group in groups),
        cpus=[list(place.cpus) for place in places], nodes=sorted({n for place in places for n in place.nodes}),
        memory=cores.memory(nodes), command=base,
    )  # fmt: skip
