"""What the records of all files of results have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST = 1e18  # of any number in a record: what is beyond was never measured, and cannot be drawn or formatted
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class Record(BaseModel):
    """Unknown fields are refused, so that a typing error cannot pass; so are numbers beyond all measure."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @model_validator(mode="after")
    def _of_this_world(self) -> Record:
        for name, value in self:
            if not _sane(value):
                raise ValueError(f"{name} holds a number beyond {LARGEST:g}")
        return self


def _sane(value: Any) -> bool:
    """Of the numbers in a field; records in it have been looked at before."""
    if isinstance(value, dict):
        return all(map(_sane, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_sane, value))
    return not isinstance(value, (int, float)) or abs(value) <= LARGEST  # NaN is not: it compares as false


class Latency(Record):
    """Latency of one batch, in milliseconds, over the measured batches; percentiles by the nearest-rank method."""

    mean: float
    p50: float
    p90: float
    p99: float
    min: float
    max: float
