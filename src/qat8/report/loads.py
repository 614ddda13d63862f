"""Scenarios and instances in a report: the pairs that belong side by side, their tables, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass

from qat8.report import text
from qat8.report.tables import Table
from qat8.results import Results
from qat8.scenario_results import Instances, ScenarioMeasurement

TUTORIAL_THREADS = 20  # the tutorial's larger setting: ./run.sh -1 20

NOT_MLPERF = (
    "The scenarios follow MLPerf inference's definitions, not its rules for submissions: shorter runs, our own load "
    "generator inside the tester, another model and data. They are not MLPerf results."
)
LATENCIES = (
    "A latency of the server scenario counts from the query's scheduled arrival, so the time in the queue is part of "
    "it. The raw times of all queries lie beside the results file; `qat8.latencies` reads them."
)


@dataclass(frozen=True)
class Pair:
    """One split of the machine in both precisions."""

    fp32: Instances
    int8: Instances

    @property
    def ratio(self) -> float:
        return self.int8.images_per_second / self.fp32.images_per_second

    @property
    def cores(self) -> int:
        return self.fp32.instances * self.fp32.threads


def pairs(results: Results, model: str) -> list[Pair]:
    """By batch size, then one instance by its threads, then full splits from many instances to few."""
    found: dict[tuple, dict[str, Instances]] = {}
    for record in results.instances:
        if record.model == model:
            key = (record.batch_size, record.instances > 1, -record.instances, record.threads)
            found.setdefault(key, {})[record.precision] = record
    return [Pair(**found[key]) for key in sorted(found)]


def best(found: list[Pair]) -> Pair | None:
    """The split with the most images per second in INT8; None where there was no choice."""
    return max(found, key=lambda pair: pair.int8.images_per_second) if len(found) > 1 else None


def split(record: Instances) -> str:
    return f"{record.instances} × {text.count(record.threads, 'thread')}"


def notes(results: Results, models: list[str]) -> list[str]:
    said = []
    for model in models:
        found = pairs(results, model)
        for batch in dict.fromkeys(pair.fp32.batch_size for pair in found):
            chosen = best([pair for pair in found if pair.fp32.batch_size == batch])
            if chosen:
                said.append(
                    f"{model}, batch {batch}: the most images per second in INT8, "
                    f"{text.speed(chosen.int8.images_per_second)}, came from {split(chosen.int8)}."
                )
    memory = [f"Memory: {how}." for how in dict.fromkeys(record.memory for record in results.instances)]
    return said + _twenty(results) + memory


def _twenty(results: Results) -> list[str]:
    """A line where a sweep could not have the tutorial's 20 threads."""
    single = {record.threads for record in results.instances if record.instances == 1}
    cores = max((record.instances * record.threads for record in results.instances), default=0)
    if len(results.instances) > 2 and single and TUTORIAL_THREADS not in single and cores < TUTORIAL_THREADS:
        return [
            f"{TUTORIAL_THREADS} threads, the tutorial's larger setting, were not measured: "
            f"there are {text.count(cores, 'core')} here."
        ]
    return []


def instances_table(results: Results, models: list[str]) -> Table:
    body = []
    for model in models:
        for pair in pairs(results, model):
            speeds = [text.speed(record.images_per_second) for record in (pair.fp32, pair.int8)]
            each = [speed for repetition in pair.int8.per_instance for speed in repetition]
            spread = f"{text.speed(min(each))} to {text.speed(max(each))}"
            window = text.fixed(min(pair.fp32.window_seconds + pair.int8.window_seconds), 1)
            p99 = text.milliseconds(pair.int8.latency_ms.p99)
            names = (model, split(pair.fp32), str(pair.fp32.batch_size))
            body.append((*names, *speeds, text.ratio(pair.ratio), spread, p99, window))
    return Table(
        "Instances × threads of each: images/s summed over the instances in the window that all share",
        ("Model", "Split", "Batch", "FP32 img/s", "INT8 img/s", "INT8/FP32", "INT8, each instance",
         "INT8 batch p99, ms", "Shortest window, s"),
        body,
        labels=2,
    )  # fmt: skip


def scenarios_table(results: Results) -> Table:
    body = []
    found = {(s.model, s.scenario, s.threads, s.images_per_query, s.precision): s for s in results.scenarios}
    for key in dict.fromkeys(key[:-1] for key in found):
        fp32, int8 = (found[(*key, precision)] for precision in ("fp32", "int8"))
        tails = [text.milliseconds(s.latency_ms.p99) if s.latency_ms else "–" for s in (fp32, int8)]
        model, scenario, threads, images = key
        cells = (_metric(fp32), _metric(int8), _gain(fp32, int8), *tails)
        body.append((model, scenario, str(threads), str(images), *cells, _remark(fp32, int8)))
    return Table(
        "Scenarios: single-stream's 90th percentile, offline's throughput, server's highest rate within the target",
        ("Model", "Scenario", "Threads", "Images a query", "FP32", "INT8", "Gain", "FP32 p99, ms", "INT8 p99, ms",
         "Remark"),
        body,
        labels=2,
        remarks=1,
    )  # fmt: skip


def _metric(record: ScenarioMeasurement) -> str:
    if record.scenario == "single-stream":
        return f"{text.milliseconds(record.metric)} ms"
    if record.scenario == "offline":
        return f"{text.speed(record.metric)} img/s"
    return f"{text.speed(record.metric)} queries/s" if record.metric else "none"


def _gain(fp32: ScenarioMeasurement, int8: ScenarioMeasurement) -> str:
    """How many times better INT8 is; of latencies that is FP32's over INT8's."""
    better, worse = (fp32, int8) if fp32.scenario == "single-stream" else (int8, fp32)
    return text.ratio(better.metric / worse.metric) if worse.metric else "–"


def _remark(fp32: ScenarioMeasurement, int8: ScenarioMeasurement) -> str:
    if not fp32.server:
        return f"median of {text.count(len(fp32.repetitions), 'repetition')}"
    open_ = [s.precision.upper() for s in (fp32, int8) if s.metric and not s.server.confirmed]
    target = f"p99 ≤ {fp32.server.target_latency_ms:g} ms"
    return f"{target}; not confirmed: {text.listed(open_)}" if open_ else target


def probes_table(results: Results) -> Table:
    body = []
    for record in results.scenarios:
        for probe in record.server.probes if record.server else ():
            outcome = "meets" if probe.meets else f"lost after {probe.queries:,}"
            figures = (text.fixed(probe.rate, 1), str(probe.seed), f"{probe.planned:,}", f"{probe.late:,}")
            body.append((record.model, record.precision.upper(), *figures, text.milliseconds(probe.p99_ms), outcome))
    return Table(
        "Server: the probes of the search, in order; p99 is that of the queries which were run",
        ("Model", "Precision", "Queries/s", "Seed", "Queries", "Late", "p99, ms", "Outcome"),
        body,
        labels=2,
        remarks=1,
    )
