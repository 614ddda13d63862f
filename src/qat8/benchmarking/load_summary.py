"""Scenarios and instances -> records beside those of single processes, and the checks of both."""

from __future__ import annotations

from qat8.benchmarking import disturbance
from qat8.benchmarking.loads import Loads
from qat8.older_python import zip_strict
from qat8.results import Check, Comparison, Run
from qat8.scenario_results import Instances, ScenarioRun
from qat8.statistics import median, paired_ratios

# Share of images whose class may differ from the accuracy run's: another batch size may take another kernel, which
# rounds otherwise, and of two classes that are all but equal the other one wins.
MOST_CHANGED = 0.02


def runs(loads: Loads) -> list[Run]:
    """Several instances as runs, so that they stand in the same tables; a single one is a run already."""
    return [_run(loads, record) for record in loads.instances if record.instances > 1]


def _run(loads: Loads, record: Instances) -> Run:
    mine = [run for m, p, cpus, run in loads.runs if (m, p) == (record.model, record.precision) and cpus in record.cpus]
    return Run(
        model=record.model, precision=record.precision, tester="cpp", threads=record.threads,
        instances=record.instances, batch_size=record.batch_size, images=mine[0].pool_images,
        images_per_second=record.images_per_second, latency_ms=record.latency_ms, top1=None, top5=None,
        peak_rss_bytes=record.peak_rss_bytes, repetitions=record.repetitions,
        threads_alive=max(run.threads_alive for run in mine), threads_busy=max(run.threads_busy for run in mine),
        cpus=[cpu for cpus in record.cpus for cpu in cpus], init_ms=median([run.init_ms for run in mine]),
        command=record.command,
    )  # fmt: skip


def comparisons(loads: Loads) -> list[Comparison]:
    """INT8 against FP32 of the same split, repetition by repetition."""
    found = []
    for fp32, int8 in zip_strict(loads.instances[::2], loads.instances[1::2]):
        if fp32.instances > 1:
            ratio = paired_ratios(int8.repetitions, fp32.repetitions)
            found.append(Comparison(
                model=fp32.model, tester="cpp", threads=fp32.threads, instances=fp32.instances,
                batch_size=fp32.batch_size, speedup=ratio.median, speedup_min=ratio.min, speedup_max=ratio.max,
                top1_diff=None, top5_diff=None,
            ))  # fmt: skip
    return found


def checks(loads: Loads, accurate: dict[tuple[str, str], list[int]]) -> list[Check]:
    """What must hold for these figures. `accurate`: (model, precision) -> classes of the accuracy run."""
    if not loads.runs:
        return []
    where = [(m, p, run.affinity == cpus, f"{run.affinity}") for m, p, cpus, run in loads.runs]
    # In the server scenario the server rests between queries, and without a rate it does nothing.
    steady = [(m, p, run) for m, p, _, run in loads.runs if run.scenario != "server"]
    busy = [(m, p, run.threads_busy == run.num_threads, f"{run.threads_busy} busy") for m, p, run in steady]
    same = [(m, p, *_unchanged(run, accurate.get((m, p), []))) for m, p, _, run in loads.runs]
    seen = [(m, p, disturbance.of(c)) for m, p, c in loads.conditions]
    machine = [(m, p, not found, "; ".join(found)) for m, p, found in seen]
    return [
        _all("load machine", machine, "nothing disturbed the CPUs of scenarios and instances"),
        _all("load affinity", where, "every process of a scenario and every instance ran on its own CPUs"),
        _all("load threads", busy, "as many threads worked as were asked for"),
        _all("load outputs", same, "the performance runs named the classes that the accuracy run named"),
    ]


def _unchanged(run: ScenarioRun, expected: list[int]) -> tuple[bool, str]:
    """Whether a performance run computed what the accuracy run computed, as MLPerf's TEST01 asks."""
    pairs = [(a, b) for a, b in zip(run.predictions, expected) if a >= 0]
    changed = sum(a != b for a, b in pairs)
    return changed <= MOST_CHANGED * len(pairs), f"{changed} of {len(pairs)} images got another class"


def _all(name: str, outcomes: list[tuple[str, str, bool, str]], meaning: str) -> Check:
    bad = [f"{model}, {precision}: {detail}" for model, precision, ok, detail in outcomes if not ok]
    detail = meaning if not bad else f"not so: {bad[0]}" + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")
    return Check(check=name, ok=not bad, detail=detail)
