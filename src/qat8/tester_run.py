"""The shape of one tester's run (`TesterRun`), in C++, in Python and with a peer, and of what happened beside it.

Accuracies are fractions of 1, times are milliseconds unless a name says otherwise. Unknown fields are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from qat8.records import Latency, Record


class _Record(Record, BaseModel):  # both, so that ruff knows it for what it is
    pass


class PartialBatch(_Record):
    """The last batch of the file when it is smaller than batch_size: it counts for accuracy, not for speed."""

    images: int
    latency_ms: float


class Conditions(_Record):
    """What happened on the machine while one process measured; None: this machine does not tell.

    Shares are of the time of the CPUs that they speak of, 0 to 1.
    """

    seconds: float  # the whole process, with its start
    cpu_seconds: float  # of the process, user and system
    other_load: float | None  # time of the measured CPUs that went to other processes
    elsewhere_load: float | None  # time of all other CPUs that was not idle; None: there are no others
    steal: float | None  # time of the measured CPUs that the hypervisor gave to other guests
    throttled_periods: int | None  # of the cgroup's CPU quota
    throttled_ms: float | None
    thermal_events: int | None  # of the measured CPUs
    swapped_pages: int | None  # of the machine, in and out
    major_faults: int  # pages that the process had to wait for
    frequency_mhz: tuple[float, float] | None  # least and greatest that was seen on the measured CPUs
    discarded: int = 0  # measurements before this one that something else disturbed, and that were thrown away


class TesterRun(_Record):
    """What `sample_tester --json FILE` writes, in C++ and in Python alike.

    Pass 1 predicts every image of the file once (or `iterations` batches) and counts accuracy. If `min_seconds` is not
    yet reached the run goes on over the file's full batches, for speed alone. `measured_*` counts full batches only
    (when the file holds none: the partial batch). A latency is: copy the input, run, copy the output.
    """

    schema_: Literal[1] = Field(1, alias="schema")
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
    read_ms: float = 0.0  # reading and normalising all measured batches: beside their latencies, not in them
    top1: float | None
    top5: float | None
    predictions: list[int]  # top-1 class of each image of pass 1, in file order; empty with an accuracy layer
    init_ms: float
    peak_rss_bytes: int
    threads_alive: int  # of the process, right after the measured batches
    threads_busy: int  # those that used at least 10 % of the measured time
    affinity: list[int]  # CPUs that the kernel allows
    conditions: Conditions | None = None  # added by who started the tester
    engine: str | None = None  # of a peer: its name and version; None: Paddle
    bf16_convolutions: tuple[int, int] | None = None  # of a peer in BF16: those that its graph runs so, and all


def load(path: Path) -> TesterRun:
    return TesterRun.model_validate_json(Path(path).read_text())
