"""The shape of a results file (`Results`), made of many runs of testers (`tester_run`).

Figures only; formatting is the report's. Accuracies are fractions of 1, times are milliseconds unless a name says
otherwise, a top-1 difference is INT8 minus FP32. Unknown fields are refused, so that a typing error cannot pass.

Versions: `schema` changes when a field goes or changes its meaning, `revision` when fields are added. A file of any
revision up to ours is read; what it does not have yet takes the field's default. `inv schema` writes docs/schema/.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from qat8.errors import DataError
from qat8.records import Count, Latency, Positive, Record
from qat8.scenario_results import Instances, ScenarioMeasurement
from qat8.tester_run import Conditions, PartialBatch


def _all_or_none(values: list[float]) -> list[float]:
    if len(values) not in (0, 101):
        raise ValueError(f"{len(values)} percentiles, not the 0th to the 100th")
    return values


SCHEMA = 1
# 0: before conditions, gates, verdict and the rest of the environment were recorded; 1: before BF16;
# 2: before disturbed repetitions were measured again
REVISION = 3
Precision = Literal["fp32", "bf16", "int8"]
Percentiles = Annotated[list[float], AfterValidator(_all_or_none)]


class _Record(Record, BaseModel):  # both, so that ruff knows it for what it is
    pass


class Run(_Record):
    """One configuration, measured `len(repetitions)` times; the medians over the repetitions."""

    model: str
    precision: Precision
    tester: str
    threads: Count
    instances: Count = 1
    batch_size: Count
    images: Count
    images_per_second: Positive
    latency_ms: Latency
    top1: float | None
    top5: float | None
    peak_rss_bytes: int
    repetitions: Annotated[list[Positive], Field(min_length=1)]  # images/s of each repetition, in the order measured
    threads_alive: int
    threads_busy: int
    cpus: list[int]
    init_ms: float
    partial_batch: PartialBatch | None = None
    command: list[str]
    latency_percentiles_ms: Percentiles = []  # the 0th to the 100th, over the batches of all repetitions
    measured_batches: int | None = None  # over all repetitions
    conditions: list[Conditions] = []  # of each repetition
    engine: str | None = None  # of a peer: its name and version; None: Paddle


class Comparison(_Record):
    """INT8 (or BF16) against FP32 of one configuration; `speedup` is the median of the ratios of paired repetitions.

    A difference is INT8 (BF16) minus FP32.
    """

    model: str
    tester: str
    threads: Count
    instances: Count = 1
    batch_size: Count
    speedup: Positive
    speedup_min: Positive
    speedup_max: Positive
    top1_diff: float | None
    top5_diff: float | None
    speedup_interval: tuple[float, float] | None = None  # 95 %, bootstrap over the repetitions


class PeerComparison(_Record):
    """Ours against a peer in one precision: same weights, images, threads and batch, paired repetitions of one run.

    `ratio` is our images/s over the peer's. `agreement`: share of images on which both name the same class.
    """

    model: str
    precision: Precision
    peer: str
    tester: str
    threads: int
    batch_size: int
    ratio: float
    ratio_min: float
    ratio_max: float
    top1_diff: float | None
    agreement: float


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
    bf16_agreement: float | None = None  # of BF16 and FP32
    bf16_agreement_interval: tuple[float, float] | None = None


class AccuracyGate(_Record):
    """Whether INT8 (or BF16) loses no more top-1 than it may. Differences are INT8 (BF16) minus FP32, fractions of 1.

    The interval is of the difference of two shares of the same images: Bonett, D. G. and Price, R. M. (2012), Adjusted
    Wald confidence interval for a difference of binomial proportions based on paired data, JEBS 37, 479-488.
    """

    model: str
    precision: Precision = "int8"
    max_top1_drop: float
    subset: str | None  # the one that was judged; None: there is none with labels that training has not seen
    images: int
    top1_diff: float | None
    interval: tuple[float, float] | None  # 95 %
    outcome: Literal["passed", "failed", "undecided"]
    detail: str

    @property
    def subject(self) -> str:
        return self.model if self.precision == "int8" else f"{self.model} in {self.precision.upper()}"


class Check(_Record):
    """What must hold for the figures to mean what they say. A warning that does not hold invalidates nothing."""

    check: str
    ok: bool
    detail: str
    level: Literal["failure", "warning"] = "failure"

    @property
    def word(self) -> str:
        return "ok" if self.ok else "INVALID" if self.level == "failure" else "warning"


class Peak(_Record):
    """What one core can do at most, measured on this machine, for the physical limit in the plots."""

    fp32_flops_per_second_core: float | None = None
    int8_ops_per_second_core: float | None = None
    bytes_per_second_core: float | None = None  # read from memory
    detail: str = ""  # how it was measured


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
    limits: dict[str, float | int | None] = {}  # cgroup: cpu_quota in CPUs, memory_limit_bytes; None: no limit
    load_average: list[float] | None = None  # over 1, 5, 15 minutes, when the run had ended
    libraries: dict[str, str] = {}  # file name -> SHA-256
    onednn: dict | None = None  # version, commit, isa, runtime; (bf16_)kernels: model -> INT8 (BF16) kernels
    peak: Peak | None = None


class Artifact(_Record):
    """A model or data file that was measured."""

    path: str
    sha256: str
    manifest: dict | None = None
    bytes: int | None = None  # of a model: program and parameters together


class Results(_Record):
    """A results file, `data/results/RUN.json`."""

    schema_: Literal[1] = Field(SCHEMA, alias="schema")
    revision: int = Field(0, ge=0, le=REVISION)  # files of revision 0 do not say it
    run_id: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$")  # the name of its report's directory
    created: str  # ISO 8601, UTC
    identity: str = ""  # SHA-256 over models, data, testers, settings and CPU: equal for a repeated measurement
    quick: bool
    runtime: Literal["local", "docker"]
    command: list[str]
    environment: Environment
    models: dict[str, dict[Precision, Artifact]]
    engine_files: dict[str, dict[Precision, Artifact]] = {}  # the models' form for our own engine, where it ran
    data: Artifact
    more_data: dict[str, Artifact] = {}  # model -> its data file, of models that do not take `data`
    untrained: list[str] = []  # models with random weights
    runs: list[Run]
    comparisons: list[Comparison]  # INT8 against FP32
    bf16_comparisons: list[Comparison] = []  # BF16 against FP32, where it was asked for
    accuracy: list[SubsetAccuracy]
    peers: list[PeerComparison] = []
    scenarios: list[ScenarioMeasurement] = []
    instances: list[Instances] = []
    gates: list[AccuracyGate] = []
    operations_per_image: dict[str, int] = {}  # model -> multiplications and additions of its oneDNN primitives
    verdict: Literal["VALID", "INVALID"] | None = None  # None: revision 0, or nothing was checked
    reasons: list[str] = []  # why it is INVALID

    @property
    def warnings(self) -> list[str]:
        return [f"{c.check}: {c.detail}" for c in self.environment.validity if c.word == "warning"]


def reasons(checks: list[Check]) -> list[str]:
    """Of the checks that invalidate a run."""
    return [f"{c.check}: {c.detail}" for c in checks if c.word == "INVALID"]


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
