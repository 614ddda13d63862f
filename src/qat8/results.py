"""The shapes of what is measured: one tester run (`TesterRun`), and the results file (`Results`) made of many.

Figures only; formatting is the report's. Accuracies are fractions of 1, times are milliseconds unless a name says
otherwise, a top-1 difference is INT8 minus FP32. Unknown fields are refused, so that a typing error cannot pass.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qat8.errors import DataError
from qat8.records import Latency
from qat8.scenario_results import Instances, ScenarioMeasurement

SCHEMA = 1
Precision = Literal["fp32", "int8"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class PartialBatch(_Record):
    """The last batch of the file when it is smaller than batch_size: it counts for accuracy, not for speed."""

    images: int
    latency_ms: float


class TesterRun(_Record):
    """What `sample_tester --json FILE` writes, in C++ and in Python alike.

    Pass 1 predicts every image of the file once (or `iterations` batches) and counts accuracy. If `min_seconds` is not
    yet reached the run goes on over the file's full batches, for speed alone. `measured_*` counts full batches only
    (when the file holds none: the partial batch). A latency is: copy the input, run, copy the output.
    """

    schema_: Literal[1] = Field(SCHEMA, alias="schema")
    tester: str
    paddle_version: str
    infer_model: str
    infer_data: str
    fingerprint: dict | None = None  # of the data file; None for the raw layout
    batch_size: int
    num_threads: int
    warmup_size: int
    images: int  # predicted in pass 1
    measured_images: int
    measured_batches: int
    images_per_second: float
    latency_ms: Latency
    latencies_ms: list[float]  # every measured batch, in order
    partial_batch: PartialBatch | None = None
    top1: float | None
    top5: float | None
    predictions: list[int]  # top-1 class of each image of pass 1, in file order; empty with an accuracy layer
    init_ms: float
    peak_rss_bytes: int
    threads_alive: int  # of the process, right after the measured batches
    threads_busy: int  # those that used at least 10 % of the measured time
    affinity: list[int]  # CPUs that the kernel allows


class Run(_Record):
    """One configuration, measured `len(repetitions)` times; the medians over the repetitions."""

    model: str
    precision: Precision
    tester: str
    threads: int
    instances: int = 1
    batch_size: int
    images: int
    images_per_second: float
    latency_ms: Latency
    top1: float | None
    top5: float | None
    peak_rss_bytes: int
    repetitions: list[float]  # images/s of each repetition, in the order measured
    threads_alive: int
    threads_busy: int
    cpus: list[int]
    init_ms: float
    partial_batch: PartialBatch | None = None
    command: list[str]


class Comparison(_Record):
    """INT8 against FP32 of one configuration; `speedup` is the median of the ratios of paired repetitions."""

    model: str
    tester: str
    threads: int
    instances: int = 1
    batch_size: int
    speedup: float
    speedup_min: float
    speedup_max: float
    top1_diff: float | None
    top5_diff: float | None


class SubsetAccuracy(_Record):
    """Accuracy over one part of the data file, with its 95 % Wilson score interval, and INT8/FP32 agreement.

    Wilson, E. B. (1927), Probable inference, the law of succession, and statistical inference, JASA 22.
    """

    model: str
    subset: str
    images: int
    labels: str  # where the labels come from
    used_in_training: bool
    top1: dict[Precision, float | None]
    top1_interval: dict[Precision, tuple[float, float] | None]
    agreement: float  # share of images on which INT8 and FP32 name the same class
    agreement_interval: tuple[float, float]


class Check(_Record):
    check: str
    ok: bool
    detail: str


class Environment(_Record):
    cpu: dict
    memory_bytes: int
    os: dict
    container: bool
    container_details: dict | None = None  # image, its id, CPU set, limits; None on the host
    versions: dict[str, str]
    git_commit: str | None
    variables: dict[str, str]
    validity: list[Check] = []


class Artifact(_Record):
    """A model or data file that was measured."""

    path: str
    sha256: str
    manifest: dict | None = None


class Results(_Record):
    """A results file, `data/results/RUN.json`."""

    schema_: Literal[1] = Field(SCHEMA, alias="schema")
    run_id: str
    created: str  # ISO 8601, UTC
    identity: str = ""  # SHA-256 over models, data, testers, settings and CPU: equal for a repeated measurement
    quick: bool
    runtime: Literal["local", "docker"]
    command: list[str]
    environment: Environment
    models: dict[str, dict[Precision, Artifact]]
    data: Artifact
    runs: list[Run]
    comparisons: list[Comparison]
    accuracy: list[SubsetAccuracy]
    scenarios: list[ScenarioMeasurement] = []
    instances: list[Instances] = []


def load(path: Path) -> Results:
    """Read and validate a results file.

    Raises:
        DataError: not there, not JSON, another schema version, or fields that do not fit; the first one is named.
    """
    try:
        return Results.model_validate_json(Path(path).read_bytes())
    except OSError as e:
        raise DataError(f"{path}: {e.strerror}", "a results file", "`inv benchmark` writes one") from e
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path}: {where}: {first['msg']}", f"a results file of schema {SCHEMA}") from e


def dump(results: Results) -> str:
    return results.model_dump_json(by_alias=True, indent=1) + "\n"


def load_tester_run(path: Path) -> TesterRun:
    return TesterRun.model_validate_json(Path(path).read_text())
