"""The numbers of a report: which runs belong side by side, and what follows from them. No text, no formatting."""

from __future__ import annotations

from dataclasses import dataclass

from qat8 import peers, tutorial
from qat8.profiling.record import Profile
from qat8.results import Comparison, Precision, Results, Run, SubsetAccuracy
from qat8.statistics import Spread, paired_ratios, wilson_interval

# MLPerf's and our gate: a drop of half a point of top-1. An interval wider than that to either side cannot show it.
DECISIVE_DROP = 0.005
DECISIVE_IMAGES = 1000
TUTORIAL_BATCH = 50
NOTEWORTHY = 0.01  # a ratio of two testers within 1 % of 1 is no difference to a user, however steady

OPERATORS = 12  # of a profile's, the longest

Limits = dict[tuple[int, Precision], float]  # number of a row, precision -> images/s
Configuration = tuple[str, str, int, int, int]  # model, tester, threads, instances, batch size


@dataclass(frozen=True)
class SpeedRow:
    """One configuration in its precisions."""

    model: str
    tester: str
    threads: int
    instances: int
    batch_size: int
    fp32: Run | None
    int8: Run | None
    comparison: Comparison | None
    bf16: Run | None = None
    bf16_comparison: Comparison | None = None

    @property
    def runs(self) -> dict[Precision, Run]:
        """Those that were measured."""
        found = {"fp32": self.fp32, "bf16": self.bf16, "int8": self.int8}
        return {precision: run for precision, run in found.items() if run}

    @property
    def tutorial(self) -> dict[tutorial.Server, tutorial.Performance]:
        """The tutorial's rows for this model; it measured a single thread, so other rows have none."""
        single = self.threads == 1 and self.instances == 1
        return tutorial.performance(self.model) if single else {}


@dataclass(frozen=True)
class TesterRow:
    """The same model, precision and setting in the C++ and in the Python tester: C++ over Python."""

    run: Run
    ratio: Spread

    @property
    def differ(self) -> bool:
        """Whether all repetitions agree about which one is faster, and the difference is worth a word."""
        agree = self.ratio.min > 1 or self.ratio.max < 1
        return agree and abs(self.ratio.median - 1) >= NOTEWORTHY


@dataclass(frozen=True)
class WholeRun:
    """Accuracy over the whole data file, as the testers counted it."""

    model: str
    images: int
    top1: dict[Precision, float | None]
    top5: dict[Precision, float | None]
    testers_agree: bool


def difference(top: dict[Precision, float | None], precision: Precision = "int8") -> float | None:
    """INT8 (BF16) minus FP32, or None when one of them was not measured."""
    fp32, narrow = top.get("fp32"), top.get(precision)
    return None if fp32 is None or narrow is None else narrow - fp32


def ours(results: Results) -> Results:
    """The results without the peers' runs, which are compared with ours and not with the tutorial's."""
    kept = {
        name: [r for r in getattr(results, name) if r.tester not in peers.NAMES]
        for name in ("runs", "comparisons", "bf16_comparisons")
    }
    return results.model_copy(update=kept)


def precisions(results: Results) -> list[Precision]:
    """Those that were measured, in the order in which they are shown."""
    measured = {run.precision for run in results.runs}
    return [p for p in ("fp32", "bf16", "int8") if p in measured or p != "bf16"]


def models(results: Results) -> list[str]:
    """In the order in which they were measured."""
    return list(dict.fromkeys(run.model for run in results.runs))


def _configuration(run: Run) -> Configuration:
    return run.model, run.tester, run.threads, run.instances, run.batch_size


def speed_rows(results: Results) -> list[SpeedRow]:
    runs = {(*_configuration(run), run.precision): run for run in results.runs}
    compared, bf16 = (
        {(c.model, c.tester, c.threads, c.instances, c.batch_size): c for c in found}
        for found in (results.comparisons, results.bf16_comparisons)
    )
    rows = [
        SpeedRow(*key, runs.get((*key, "fp32")), runs.get((*key, "int8")), compared.get(key),
                 runs.get((*key, "bf16")), bf16.get(key))
        for key in dict.fromkeys(_configuration(run) for run in results.runs)
    ]  # fmt: skip
    order = models(results)
    testers = list(dict.fromkeys(run.tester for run in results.runs))
    testers.sort(key=lambda name: name != "cpp")
    return sorted(
        rows,
        key=lambda r: (order.index(r.model), r.threads, r.instances, -r.batch_size, testers.index(r.tester)),
    )


def headline_row(rows: list[SpeedRow], model: str) -> SpeedRow | None:
    """The configuration that stands for a model: the one most like the tutorial's, in the C++ tester if it ran."""
    compared = [row for row in rows if row.model == model and row.comparison]
    return min(
        compared,
        key=lambda r: (
            r.tester != "cpp",
            r.tester != "python",
            r.instances,
            r.threads,
            abs(r.batch_size - TUTORIAL_BATCH),
        ),
        default=None,
    )


def tester_rows(results: Results) -> list[TesterRow]:
    runs = {(*_configuration(run), run.precision): run for run in results.runs}
    rows = []
    for run in results.runs:
        model, tester, *rest = _configuration(run)
        python = runs.get((model, "python", *rest, run.precision))
        if tester == "cpp" and python and len(python.repetitions) == len(run.repetitions) > 0:
            rows.append(TesterRow(run, paired_ratios(run.repetitions, python.repetitions)))
    return rows


def ratio_pairs(results: Results, other: Results) -> list[tuple[SpeedRow, Comparison, Comparison]]:
    """INT8/FP32 of each configuration that both runs measured: its row in `results`, the ratio there, the other's."""
    theirs = {(c.model, c.tester, c.threads, c.instances, c.batch_size): c for c in other.comparisons}
    pairs = []
    for row in speed_rows(results):
        their = theirs.get((row.model, row.tester, row.threads, row.instances, row.batch_size))
        if row.comparison and their:
            pairs.append((row, row.comparison, their))
    return pairs


def overlap(a: Comparison, b: Comparison) -> bool:
    """Whether the ranges of the paired ratios share a value."""
    return a.speedup_min <= b.speedup_max and b.speedup_min <= a.speedup_max


def whole_run(results: Results, model: str) -> WholeRun | None:
    """None when the model did not run. Runs over fewer images (`--iterations`) are left out."""
    runs = [run for run in results.runs if run.model == model]
    images = max((run.images for run in runs), default=0)
    whole = [run for run in runs if run.images == images]
    if not whole:
        return None
    top1 = {precision: _counted(whole, precision, "top1") for precision in ("fp32", "int8")}
    top5 = {precision: _counted(whole, precision, "top5") for precision in ("fp32", "int8")}
    every = [*top1.values(), *top5.values()]
    return WholeRun(model, images, _firsts(top1), _firsts(top5), all(len(values) < 2 for values in every))


def _counted(runs: list[Run], precision: Precision, which: str) -> list[float]:
    """The different values that the runs counted; one, if all is well."""
    values = [getattr(run, which) for run in runs if run.precision == precision]
    return list(dict.fromkeys(value for value in values if value is not None))


def _firsts(values: dict[Precision, list[float]]) -> dict[Precision, float | None]:
    return {precision: next(iter(found), None) for precision, found in values.items()}


def subsets(results: Results, model: str) -> list[SubsetAccuracy]:
    return [subset for subset in results.accuracy if subset.model == model]


def largest_subset(results: Results, model: str) -> SubsetAccuracy | None:
    """The one over which agreement is said: most images."""
    return max(subsets(results, model), key=lambda subset: subset.images, default=None)


def top1_interval(subset: SubsetAccuracy, precision: Precision) -> tuple[float, float] | None:
    share, known = subset.top1.get(precision), subset.top1_interval.get(precision)
    if share is None or known is not None:
        return known
    return wilson_interval(round(share * subset.images), subset.images)


def decides(subset: SubsetAccuracy) -> bool:
    """Whether this subset's labels can show a half-point loss: independent, many, and with narrow intervals."""
    intervals = [top1_interval(subset, precision) for precision in ("fp32", "int8")]
    if subset.used_in_training or subset.images < DECISIVE_IMAGES or None in intervals:
        return False
    return all((high - low) / 2 <= DECISIVE_DROP for low, high in intervals)


def limits(results: Results, rows: list[SpeedRow]) -> Limits:
    """The images/s that the cores of each row could give if they did nothing but all of the model's multiplications.

    Only where the peak of a core was measured on this machine and the model's operations were counted.
    """
    peak, found = results.environment.peak, {}
    if peak is None:
        return {}
    peaks = {"fp32": peak.fp32_flops_per_second_core, "int8": peak.int8_ops_per_second_core}
    for y, row in enumerate(rows):
        operations = results.operations_per_image.get(row.model)
        for precision, rate in peaks.items():
            if operations and rate:
                found[y, precision] = rate * row.threads * row.instances / operations
    return found


def has_distributions(results: Results) -> bool:
    return any(run.latency_percentiles_ms for run in results.runs)


@dataclass(frozen=True)
class OperatorTime:
    """An operator of a profiled run."""

    layer: str
    operator: str
    kernel: str
    types: str
    ms: float
    share: float  # of the whole run


def longest_operators(profile: Profile) -> list[OperatorTime]:
    steps = sorted(profile.steps, key=lambda step: -step.ms)[:OPERATORS]
    return [
        OperatorTime(step.layer, step.operator, step.main.kernel if step.main else "–", step.types, step.ms,
                     profile.share(step.ms))
        for step in steps
    ]  # fmt: skip
