"""The shape of one scenario run: what `sample_tester --scenario ... --json FILE` writes; see docs/scenarios.md."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from qat8.results import Latency

SCENARIOS = ("single-stream", "offline", "server")
Scenario = Literal["single-stream", "offline", "server"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Probe(_Record):
    """One trial of the server scenario: Poisson arrivals at `rate` queries per second."""

    rate: float
    seed: int
    planned: int  # queries
    queries: int  # that were run: fewer when too many were late already
    late: int  # above the target latency
    seconds: float
    p99_ms: float  # of the queries that were run
    meets: bool


class Server(_Record):
    target_latency_ms: float
    rate: float  # queries/s, the highest found whose p99 keeps the target; 0 when no rate does
    confirmed: bool  # by a second probe with another seed
    service_ms: Latency  # without a queue
    probes: list[Probe]


class ScenarioRun(_Record):
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


def load(path: Path) -> ScenarioRun:
    return ScenarioRun.model_validate_json(Path(path).read_text())
