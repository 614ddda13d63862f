"""Figures to tables of text; the page, the Markdown file and the terminal draw the same cells."""

from __future__ import annotations

from dataclasses import dataclass

from qat8 import tutorial
from qat8.profiling.record import Profile
from qat8.report import figures, sentences, text
from qat8.report.figures import SpeedRow, TesterRow
from qat8.results import Latency, Results
from qat8.statistics import paired_ratios

# Of some hundred CPU flags, those that decide how INT8 and FP32 kernels run.
FLAGS_OF_INTEREST = (
    *("avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16"),
)


@dataclass(frozen=True)
class Table:
    caption: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    labels: int  # so many leading columns are text that names the row; the others are figures ..
    remarks: int = 0  # .. but for so many at the end, which are text again

    def is_figure(self, column: int) -> bool:
        return self.labels <= column < len(self.columns) - self.remarks


def summary(rows: list[SpeedRow]) -> Table:
    """The one that `make demo` prints: narrow enough for 80 characters."""
    machines = [server.short.removeprefix("Xeon ") for server in tutorial.SERVERS]
    return Table(
        f"INT8 against FP32, images/s; right, the tutorial's ratios on Xeon Gold {text.listed(machines)} (1 thread)",
        ("Model", "Tester", "Thr", "Batch", "FP32", "INT8", "Ratio", "min-max", *machines),
        [(*_names(row), *_speeds(row), _ratio(row), _ends(row, "-"), *_tutorial_ratios(row)) for row in rows],
        labels=2,
    )


def speed(rows: list[SpeedRow]) -> Table:
    return Table(
        "Speed: medians over the repetitions; the ratio is the median over paired repetitions",
        ("Model", "Tester", "Threads", "Batch", "FP32 img/s", "INT8 img/s", "INT8/FP32", "95 % interval", "min to max"),
        [(*_names(row), *_speeds(row), _ratio(row), _interval(row), _ends(row)) for row in rows],
        labels=2,
    )


def bf16(rows: list[SpeedRow]) -> list[Table]:
    """Where it was measured: BF16 between FP32 and INT8, narrow enough for 80 characters."""
    body = []
    for row in rows:
        if compared := row.bf16_comparison:
            speeds = [text.speed(run.images_per_second) for run in row.runs.values()]
            ends = f"{text.ratio(compared.speedup_min)}-{text.ratio(compared.speedup_max)}"
            pair = row.int8.repetitions, row.bf16.repetitions
            over = text.ratio(paired_ratios(*pair).median)
            body.append((*_names(row), *speeds, text.ratio(compared.speedup), ends, over))
    columns = ("Model", "Tester", "Thr", "Batch", "FP32", "BF16", "INT8", "Ratio", "min-max", "INT8 x")
    caption = "BF16, the FP32 model in bfloat16: images/s; Ratio is BF16/FP32, INT8 x is INT8/BF16"
    return [Table(caption, columns, body, labels=2)] if body else []


def limits(results: Results, rows: list[SpeedRow]) -> list[Table]:
    """Where the peak of a core was measured: how near the models come to it, or past it with fewer multiplications."""
    found = figures.limits(results, rows)
    body = []
    for y, row in enumerate(rows):
        cells = []
        for precision, run in (("fp32", row.fp32), ("int8", row.int8)):
            limit = found.get((y, precision))
            share = run.images_per_second / limit if run and limit else None
            cells += [text.speed(limit), text.NOT_MEASURED if share is None else f"{text.fixed(share * 100, 0)} %"]
        body.append((*_names(row), *cells))
    caption = "Limit of direct sums: images/s if the cores did nothing but multiply at their measured peak"
    columns = ("Model", "Tester", "Threads", "Batch", "FP32 limit", "reached", "INT8 limit", "reached")
    return [Table(caption, columns, body, labels=2)] if found else []


def operators(profile: Profile) -> Table:
    """The longest operators, and what remains."""
    longest = figures.longest_operators(profile)
    body = [(o.layer, o.operator, o.kernel, o.types, _ms(o.ms), _share(o.share)) for o in longest]
    others = profile.inside_ms - sum(o.ms for o in longest)
    rest = profile.total_ms - profile.inside_ms
    body.append((f"{len(profile.steps) - len(longest)} other operators", "", "", "", _ms(others),
                 _share(profile.share(others))))  # fmt: skip
    body.append(("outside oneDNN", "", "", "", _ms(rest), _share(profile.share(rest))))
    return Table(
        f"{profile.model}, {profile.precision.upper()}, batch {profile.batch_size}, "
        f"{text.count(profile.threads, 'thread')}: the longest operators of one inference",
        ("Layer", "Operator", "Kernel", "Types", "ms", "Share"),
        body,
        labels=4,
    )


def _ms(value: float) -> str:
    return text.fixed(value, 3)


def _share(value: float) -> str:
    return f"{text.fixed(value * 100, 1)} %"


def latency(rows: list[SpeedRow]) -> Table:
    shown = [p for p in ("fp32", "bf16", "int8") if p != "bf16" or any(row.bf16 for row in rows)]
    percentiles = [f"{precision.upper()} {name}" for precision in shown for name in ("p50", "p90", "p99")]
    body = []
    for row in rows:
        runs = [row.runs.get(precision) for precision in shown]
        cells = [cell for run in runs for cell in _percentiles(run.latency_ms if run else None)]
        body.append((*_names(row), *cells))
    return Table(
        "Latency of one batch, in milliseconds", ("Model", "Tester", "Threads", "Batch", *percentiles), body, labels=2
    )


def speed_beside_tutorial(rows: list[SpeedRow]) -> Table:
    """Our single-thread rows and the tutorial's, model by model."""
    body = []
    for model in dict.fromkeys(row.model for row in rows):
        ours = [row for row in rows if row.model == model and row.threads == row.instances == 1]
        body += [(model, f"here, {sentences.configuration(row)}", *_speeds(row), _ratio(row)) for row in ours]
        for server, their in tutorial.performance(model).items():
            figures_ = (text.fixed(their.fp32, 2), text.fixed(their.int8, 2), text.fixed(their.ratio, 2))
            body.append((model, f"tutorial, {server.name}", *figures_))
    return Table(
        "Speed beside the tutorial's, one thread",
        ("Model", "Where", "FP32 img/s", "INT8 img/s", "INT8/FP32"),
        body,
        labels=2,
    )


def beside(results: Results, other: Results) -> Table:
    """INT8/FP32 of two runs, configuration by configuration, with the ranges over the repetitions."""
    body = []
    for row, ours, theirs in figures.ratio_pairs(results, other):
        cells = [
            f"{text.ratio(c.speedup)} ({text.ratio(c.speedup_min)} to {text.ratio(c.speedup_max)})"
            for c in (ours, theirs)
        ]
        change = f"{text.signed((theirs.speedup / ours.speedup - 1) * 100, 1)} %"
        body.append((*_names(row), *cells, change, "yes" if figures.overlap(ours, theirs) else "no"))
    here, there = f"{results.runtime} {results.run_id}", f"{other.runtime} {other.run_id}"
    return Table(
        "INT8/FP32 of two runs: median and range of the paired repetitions",
        ("Model", "Tester", "Threads", "Batch", here, there, "Change", "Ranges overlap"),
        body,
        labels=2,
        remarks=1,
    )


def testers(rows: list[TesterRow]) -> Table:
    body = []
    for row in rows:
        run, ends = row.run, f"{text.ratio(row.ratio.min)} to {text.ratio(row.ratio.max)}"
        names = (run.model, run.precision.upper(), _threads(run.threads, run.instances), str(run.batch_size))
        body.append((*names, text.ratio(row.ratio.median), ends))
    return Table(
        "C++ tester's images/s over the Python tester's, paired repetitions",
        ("Model", "Precision", "Threads", "Batch", "C++/Python", "min to max"),
        body,
        labels=2,
    )


def validity(results: Results) -> Table:
    checks = results.environment.validity
    return Table(
        "Validity of this run",
        ("Check", "Result", "Detail"),
        [(check.check, check.word, check.detail) for check in checks],
        labels=3,
    )


def environment(results: Results) -> Table:
    env = results.environment
    flags = [flag for flag in FLAGS_OF_INTEREST if flag in env.cpu.get("flags", [])]
    body = [("CPU", sentences.cpu(results)), ("CPU flags of interest", " ".join(flags) or "none")]
    body += [(f"CPU {key}", text.scalar(item)) for key, item in env.cpu.items() if key not in ("model", "flags")]
    body.append(("Memory", text.gibibytes(env.memory_bytes)))
    body += [(f"Limit of the control group: {key.replace('_', ' ')}", "none" if item is None else text.scalar(item))
             for key, item in env.limits.items()]  # fmt: skip
    if env.load_average:
        body.append(("Load average (1, 5, 15 minutes)", text.scalar(env.load_average)))
    body += [(f"OS {key}", text.scalar(item)) for key, item in env.os.items()]
    body.append(("Container", text.scalar(env.container)))
    body += [(f"Version of {name}", version) for name, version in env.versions.items()]
    body += [(f"oneDNN {key}", text.scalar(item)) for key, item in (env.onednn or {}).items()]
    body += [(f"SHA-256 of {name}", digest) for name, digest in env.libraries.items()]
    if env.peak:
        body += [(f"Peak: {key.replace('_', ' ')}", text.scalar(item)) for key, item in env.peak.model_dump().items()]
    body.append(("qat8 at git commit", env.git_commit or "unknown"))
    body += [(f"Variable {name}", item) for name, item in env.variables.items()]
    return Table("Where this was measured", ("What", "Value"), body, labels=2)


def artifacts(results: Results) -> Table:
    body = [("data", results.data.path, results.data.sha256)]
    for model, precisions in results.models.items():
        body += [(f"{model}, {precision.upper()}", item.path, item.sha256) for precision, item in precisions.items()]
    return Table("What was measured", ("What", "Path", "SHA-256"), body, labels=3)


def _threads(threads: int, instances: int) -> str:
    return str(threads) if instances == 1 else f"{instances} × {threads}"


def _names(row: SpeedRow) -> tuple[str, str, str, str]:
    return row.model, text.tester(row.tester), _threads(row.threads, row.instances), str(row.batch_size)


def _speeds(row: SpeedRow) -> tuple[str, ...]:
    return tuple(text.speed(run.images_per_second if run else None) for run in (row.fp32, row.int8))


def _ratio(row: SpeedRow) -> str:
    return text.ratio(row.comparison.speedup if row.comparison else None)


def _ends(row: SpeedRow, to: str = " to ") -> str:
    compared = row.comparison
    return f"{text.ratio(compared.speedup_min)}{to}{text.ratio(compared.speedup_max)}" if compared else "–"


def _interval(row: SpeedRow) -> str:
    ends = row.comparison.speedup_interval if row.comparison else None
    return f"{text.ratio(ends[0])} to {text.ratio(ends[1])}" if ends else "–"


def _tutorial_ratios(row: SpeedRow) -> list[str]:
    return [text.fixed(their.ratio, 2) for their in row.tutorial.values()] or ["–"] * len(tutorial.SERVERS)


def _percentiles(latency_ms: Latency | None) -> tuple[str, str, str]:
    if latency_ms is None:
        return ("–",) * 3
    return tuple(text.milliseconds(value) for value in (latency_ms.p50, latency_ms.p90, latency_ms.p99))
