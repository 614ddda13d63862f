"""Two results files side by side: what differs between the machines and the software, and which figures changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from qat8.older_python import zip_strict
from qat8.results import Environment, Precision, Results, Run
from qat8.statistics import Change, adjusted, change

SIGNIFICANT = 0.05
# What a machine is. Where one of the two files does not know it, it is not compared.
MACHINE = ("vendor", "model", "signature", "flags", "cpus", "cores", "sockets", "threads_per_core", "numa_nodes",
           "smt", "caches", "turbo", "governor", "hypervisor")  # fmt: skip
Metric = Literal["ratio", "int8", "fp32", "bf16"]
METRICS: dict[Metric, str] = {
    "ratio": "INT8/FP32", "int8": "INT8 img/s", "fp32": "FP32 img/s", "bf16": "BF16 img/s",
}  # fmt: skip
Verdict = Literal["faster", "slower", "noise", "too few"]
Key = tuple[str, str, int, int, int]  # model, tester, threads, instances, batch size


@dataclass(frozen=True)
class Row:
    """One figure of one configuration, before and after."""

    key: Key
    metric: Metric
    before: list[float]
    after: list[float]
    change: Change
    p_value: float | None  # adjusted over all rows of the metric
    verdict: Verdict = "noise"


def machine_differences(a: Environment, b: Environment) -> list[str]:
    """In words; figures of unlike machines do not say what changed."""
    pairs = [(f"CPU {name}", a.cpu.get(name), b.cpu.get(name)) for name in MACHINE]
    return _different(pairs)


def other_differences(a: Results, b: Results) -> list[str]:
    """What may be the very reason for comparing: software, model, settings."""
    mine, theirs = a.environment, b.environment
    pairs = [("runtime", a.runtime, b.runtime), ("microcode", mine.cpu.get("microcode"), theirs.cpu.get("microcode")),
             ("git commit", mine.git_commit, theirs.git_commit), ("quick", a.quick, b.quick)]  # fmt: skip
    pairs += [(f"OS {name}", mine.os.get(name), theirs.os.get(name)) for name in {**mine.os, **theirs.os}]
    for name in {**mine.versions, **theirs.versions}:
        pairs.append((f"version of {name}", mine.versions.get(name), theirs.versions.get(name)))
    for name in {**mine.libraries, **theirs.libraries}:
        pairs.append((f"SHA-256 of {name}", mine.libraries.get(name), theirs.libraries.get(name)))
    for name in {**mine.variables, **theirs.variables}:
        values = (found.get(name, "not set") for found in (mine.variables, theirs.variables))
        pairs.append((f"variable {name}", *values))
    pairs.append(("data", a.data.sha256, b.data.sha256))
    for name in a.models.keys() & b.models.keys():
        pairs += [(f"{name} {p}", a.models[name][p].sha256, b.models[name][p].sha256)
                  for p in a.models[name].keys() & b.models[name].keys()]  # fmt: skip
    return _different(pairs)


def _different(pairs: list[tuple[str, object, object]]) -> list[str]:
    return [f"{name}: {_brief(a)} -> {_brief(b)}" for name, a, b in pairs if None not in (a, b) and a != b]


def _brief(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text


def rows(a: Results, b: Results, min_change: float) -> list[Row]:
    """Every figure that both hold. `min_change`: the least relative change that is called one."""
    found = []
    for metric in METRICS:
        before, after = dict(_figures(a, metric)), dict(_figures(b, metric))
        pairs = {key: (values, after[key]) for key, values in before.items() if key in after}
        found += _judged(metric, pairs, min_change)
    return found


def _judged(metric: Metric, pairs: dict[Key, tuple[list[float], list[float]]], min_change: float) -> Iterator[Row]:
    changes = {key: change(*pair) for key, pair in pairs.items()}
    tested = [key for key, c in changes.items() if c.p_value is not None]
    p_values = dict(zip_strict(tested, adjusted([changes[key].p_value for key in tested])))
    for key, pair in pairs.items():
        row = Row(key, metric, *pair, changes[key], p_values.get(key))
        yield replace(row, verdict=_verdict(row, min_change))


def _verdict(row: Row, min_change: float) -> Verdict:
    if row.p_value is None:
        return "too few"
    if row.p_value >= SIGNIFICANT or abs(row.change.relative) < min_change:
        return "noise"
    return "faster" if row.change.relative > 0 else "slower"


def _figures(results: Results, metric: Metric) -> Iterator[tuple[Key, list[float]]]:
    runs = {(_key(run), run.precision): run for run in results.runs}
    for key in dict.fromkeys(_key(run) for run in results.runs):
        values = _values(metric, {p: runs[key, p] for p in ("fp32", "int8", "bf16") if (key, p) in runs})
        if values:
            yield key, values


def _key(run: Run) -> Key:
    return run.model, run.tester, run.threads, run.instances, run.batch_size


def _values(metric: Metric, runs: dict[Precision, Run]) -> list[float]:
    if metric != "ratio":
        return list(runs[metric].repetitions) if metric in runs else []
    fp32, int8 = runs.get("fp32"), runs.get("int8")
    if not fp32 or not int8 or len(fp32.repetitions) != len(int8.repetitions):
        return []
    return [b / a for a, b in zip_strict(fp32.repetitions, int8.repetitions)]


def regressions(found: list[Row], metric: Metric, limit: float) -> list[Row]:
    """Rows of the metric that are surely slower, by more than the limit (a fraction), worst first."""
    slower = [row for row in found if row.metric == metric and row.verdict == "slower"]
    return sorted((row for row in slower if -row.change.relative > limit), key=lambda row: row.change.relative)
