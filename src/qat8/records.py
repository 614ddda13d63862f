"""What the records of all files of results have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Unknown fields are refused, so that a typing error cannot pass."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Latency(Record):
    """Latency of one batch, in milliseconds, over the measured batches; percentiles by the nearest-rank method."""

    mean: float
    p50: float
    p90: float
    p99: float
    min: float
    max: float
