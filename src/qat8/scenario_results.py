"""The shapes of what scenarios and several instances give; see docs/scenarios.md.

`ScenarioRun` is what `sample_tester --scenario ... --json FILE` writes; the others are members of a results file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from qat8.records import Latency, Record

SCENARIOS = ("single-stream", "offline", "server")
Scenario = Literal["single-stream", "offline", "server"]


class Probe(Record):
    """One trial of the server scenario: Poisson arrivals at `rate` queries per second."""

    rate: float
    seed: int
    planned: int  # queries
    queries: int  # that were run: fewer when too many were late already
    late: int  # above the target latency
    seconds: float
    p99_ms: float  # of the queries that were run
    meets: bool


class Server(Record):
    target_latency_ms: float
    rate: float  # queries/s, the highest found whose p99 keeps the target; 0 when no rate does
    confirmed: bool  # by a second probe with another seed
    service_ms: Latency  # without a queue
    probes: list[Probe]


class ScenarioRun(Record):
    """One process, one scenario. A latency is completion less arrival; in offline, of a batch, less its own start."""

    schema_: Literal[1] = Field(1, alias="schema")
    tester: str
    scenario: Scenario
    paddle_version: str
    infer_model: str
    infer_data: str
    fingerprint: dict | None = None
    images_per_query: int
    num_threads: int
    warmup_size: int
    duration: float  # seconds asked for
    min_queries: int
    seed: int
    pool_images: int  # the file's first images, in memory before the measurement
    queries: int  # server: of the confirming probe; 0 when no rate was found
    seconds: float
    queries_per_second: float
    images_per_second: float
    latency_ms: Latency | None  # None: no query
    start_ns: int  # CLOCK_MONOTONIC
    end_ns: int
    server: Server | None = None
    predictions: list[int]  # top-1 class of each image of the pool, -1 when no query held it
    init_ms: float
    peak_rss_bytes: int
    threads_alive: int
    threads_busy: int
    affinity: list[int]


class ScenarioMeasurement(Record):
    """A model in one precision in one scenario, over `len(repetitions)` processes; in server one, which searches."""

    model: str
    precision: Literal["fp32", "int8"]
    scenario: Scenario
    threads: int
    images_per_query: int
    repetitions: list[float]  # the metric of each process
    metric: float  # their median: single-stream p90 in ms, offline images/s, server queries/s
    queries: int  # of all processes
    seconds: float
    latency_ms: Latency | None  # over the raw latencies of all processes; None: server without a rate
    server: Server | None = None
    latencies_files: list[str] = Field(default_factory=list)  # the raw latencies, of each process
    cpus: list[int]
    command: list[str]


class Instances(Record):
    """`instances` processes at once, each with `threads` threads on cores of its own, over the window that they share.

    A batch that lies across an edge of the window counts with the share of its time inside.
    """

    model: str
    precision: Literal["fp32", "int8"]
    instances: int
    threads: int  # of each instance
    batch_size: int
    images_per_second: float  # summed over the instances; the median of the repetitions
    repetitions: list[float]
    per_instance: list[list[float]]  # images/s of each instance, by repetition
    window_seconds: list[float]  # by repetition
    latency_ms: Latency  # of a batch, over all instances and repetitions
    peak_rss_bytes: int  # summed over the instances
    cpus: list[list[int]]  # of each instance
    nodes: list[int]  # NUMA nodes of each instance's memory
    memory: str  # how it was made local
    command: list[str]  # of the first instance


def load(path: Path) -> ScenarioRun:
    return ScenarioRun.model_validate_json(Path(path).read_text())
