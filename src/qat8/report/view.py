"""A report's content, made once from the results: what stands in which section, ready to be set as HTML or Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from qat8 import comparison
from qat8.profiling.record import Profile
from qat8.report import accuracy_tables, figures, loads, peers, sentences, tables, text
from qat8.report.tables import Table
from qat8.results import Results


@dataclass(frozen=True)
class Picture:
    """A plot, `NAME.png` and `NAME.svg`, with what it shows in words."""

    name: str
    alt: str


@dataclass(frozen=True)
class Code:
    caption: str
    lines: list[str]


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    notes: list[str] = field(default_factory=list)
    picture: Picture | None = None
    tables: list[Table] = field(default_factory=list)
    closing: list[str] = field(default_factory=list)  # below the tables
    code: list[Code] = field(default_factory=list)


@dataclass(frozen=True)
class View:
    title: str
    subtitle: str
    banners: list[str]
    headlines: list[str]
    summary: list[Table]
    accuracy_summary: Table
    sections: list[Section]


def build(results: Results, other: Results | None = None, profiles: Sequence[Profile] = ()) -> View:
    """
    Args:
        other: a second run, e.g. of the other runtime, whose ratios stand beside those of `results`.
        profiles: of the models that were measured.
    """
    everything, results = results, figures.ours(results)
    rows = figures.speed_rows(results)
    models = figures.models(results)
    return View(
        title=f"INT8 against FP32: {text.listed(models) if models else 'nothing measured'}",
        subtitle=f"Run {results.run_id} of {results.created} on {sentences.cpu(results)}, {results.runtime} runtime"
        f"{sentences.verdict(results)}",
        banners=sentences.banners(results),
        headlines=[sentences.headline(results, rows, model) for model in models],
        summary=[tables.summary(rows), *tables.bf16(rows)],
        accuracy_summary=accuracy_tables.summary(results),
        sections=[
            _speed(results, rows),
            *([_latency(rows)] if figures.has_distributions(results) else []),
            *([_operators(profiles)] if profiles else []),
            _accuracy(results),
            _testers(results),
            *([_peers(everything)] if everything.peers else []),
            *([_scenarios(results)] if results.scenarios else []),
            *([_instances(results, models)] if results.instances else []),
            *([_beside(results, other)] if other else []),
            Section("validity", "Validity", notes=sentences.validity(results), tables=[tables.validity(results)]),
            Section("environment", "Environment", tables=[tables.environment(results), tables.artifacts(results)]),
            _reproduction(everything),
        ],
    )


def _speed(results: Results, rows: list[figures.SpeedRow]) -> Section:
    ratios = [row.comparison.speedup for row in rows if row.comparison]
    span = f"INT8/FP32 goes from {text.ratio(min(ratios))} to {text.ratio(max(ratios))}. " if ratios else ""
    alt = (
        f"Bar chart of images per second in FP32 and INT8 with their ranges over the repetitions, "
        f"{text.count(len(rows), 'configuration')}, and the ratios beside the tutorial's. {span}"
        "The tables below hold the same figures."
    )
    return Section(
        "speed",
        "Speed",
        picture=Picture("speed", alt),
        tables=[
            tables.speed(rows),
            *tables.bf16(rows),
            *tables.limits(results, rows),
            tables.speed_beside_tutorial(rows),
        ]
        + ([] if figures.has_distributions(results) else [tables.latency(rows)]),
        closing=[*sentences.limits(results), sentences.OTHER_MACHINES],
    )


def _latency(rows: list[figures.SpeedRow]) -> Section:
    alt = (
        "Box plots of the latency of a batch in FP32 and INT8 for each configuration, on a logarithmic axis. "
        "The table below holds the percentiles."
    )
    return Section("latency", "Latency", picture=Picture("latency", alt), tables=[tables.latency(rows)])


def _operators(profiles: Sequence[Profile]) -> Section:
    return Section(
        "operators",
        "Where the time goes",
        notes=[sentences.profile(profile) for profile in profiles],
        tables=[tables.operators(profile) for profile in profiles],
    )


def _accuracy(results: Results) -> Section:
    alt = (
        "Bar chart of top-1 accuracy in FP32 and INT8 by subset, with 95 % Wilson intervals, and the tutorial's. "
        "The tables below hold the same figures."
    )
    decided = any(figures.decides(subset) for subset in results.accuracy)
    return Section(
        "accuracy",
        "Accuracy",
        picture=Picture("accuracy", alt),
        tables=[
            accuracy_tables.gates(results),
            accuracy_tables.subsets(results),
            *accuracy_tables.bf16_subsets(results),
            accuracy_tables.beside_tutorial(results),
        ],
        closing=[*sentences.accuracy(results), sentences.ACCURACY_ELSEWHERE],
        code=[] if decided else [Code(sentences.ON_IMAGENET, sentences.ON_IMAGENET_COMMANDS)],
    )


def _testers(results: Results) -> Section:
    rows = figures.tester_rows(results)
    return Section(
        "testers", "C++ against Python", notes=sentences.testers(rows), tables=[tables.testers(rows)] if rows else []
    )


def _scenarios(results: Results) -> Section:
    shown = [loads.scenarios_table(results), loads.probes_table(results)]
    return Section("scenarios", "Scenarios", tables=shown, closing=[loads.LATENCIES, loads.NOT_MLPERF])


def _instances(results: Results, models: list[str]) -> Section:
    alt = (
        "Left, a line chart of images per second of one instance against its number of threads, FP32 and INT8; right, "
        "a bar chart of images per second summed over the instances for each split of the cores. "
        "The table below holds the same figures."
    )
    return Section(
        "instances",
        "Instances and scaling",
        notes=loads.notes(results, models),
        picture=Picture("instances", alt),
        tables=[loads.instances_table(results, models)],
    )


def _peers(results: Results) -> Section:
    notes = [*peers.verdicts(results), f"Engines: {peers.engines(results)}."]
    shown = [peers.table(results), *peers.bf16_table(results)]
    return Section("peers", "Other engines", notes=notes, tables=shown, closing=[peers.HOW])


def _beside(results: Results, other: Results) -> Section:
    pairs = figures.ratio_pairs(results, other)
    shared = sum(figures.overlap(ours, theirs) for _, ours, theirs in pairs)
    notes = [f"The ranges overlap in {shared} of {text.count(len(pairs), 'configuration')} that both runs measured."]
    if different := comparison.machine_differences(other.environment, results.environment):
        notes.append(f"The other run is of another machine: {sentences.cpu(other)} ({'; '.join(different)}).")
    title = f"Beside run {other.run_id} ({other.runtime} runtime)"
    return Section("beside", title, notes=notes, tables=[tables.beside(results, other)])


def _reproduction(results: Results) -> Section:
    commit = results.environment.git_commit
    checkout = [f"git checkout {shlex.quote(commit)}"] if commit else []
    commands = [shlex.join(run.command) for run in results.runs]
    return Section(
        "reproduce",
        "How to reproduce",
        code=[
            Code("This run", [*checkout, shlex.join(results.command)]),
            Code("The testers' command lines in it", list(dict.fromkeys(commands))),
        ],
    )
