"""The shape of a profile, `profile.json`: figures only. Times are milliseconds of one inference of the whole batch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Operand(_Record):
    dtype: str  # oneDNN's name: f32, bf16, u8, s8, s32
    layout: str  # oneDNN's tag: abcd is NCHW, acdb is NHWC


class PrimitiveRow(_Record):
    """A oneDNN primitive; `ms` is the median over the runs."""

    kind: str
    kernel: str
    problem: str
    operands: dict[str, Operand]  # src, wei, bia, dst, as far as there are
    attributes: str
    ms: float
    operations: int | None  # multiplications and additions; None where nothing is counted

    @property
    def rate(self) -> float | None:
        """Billions of operations per second."""
        return self.operations / self.ms / 1e6 if self.operations and self.ms else None


class Step(_Record):
    """An operator that Paddle's executor ran, in its order, with the primitives that it called.

    `outside_ms`: from its start to the next operator's (the last: to the copied output), less its primitives, in the
    runs with the executor's log on, writing that log included: an upper bound.
    """

    index: int
    operator: str
    layer: str  # the parameter's or else the output's name
    saved: list[str]  # the operators of the saved program that it does the work of, "NUMBER TYPE"
    input_shape: list[int]
    output_shape: list[int]
    primitives: list[PrimitiveRow]
    outside_ms: float

    @property
    def ms(self) -> float:
        return sum(p.ms for p in self.primitives)

    @property
    def main(self) -> PrimitiveRow | None:
        """What does the operator's work: its longest primitive that is no reorder, or the reorder if that is all."""
        work = [p for p in self.primitives if p.kind != "reorder"] or self.primitives
        return max(work, key=lambda p: p.ms) if work else None

    @property
    def types(self) -> str:
        """`u8 s8 u8`: of source, weights and destination."""
        operands = self.main.operands if self.main else {}
        return " ".join(operands[role].dtype for role in ("src", "wei", "dst") if role in operands)


class Left(_Record):
    """An operator of the saved INT8 program that is not INT8, and why; `ms` None when no primitive of its was seen."""

    operator: str
    layer: str
    why: str
    ms: float | None


class Profile(_Record):
    schema_: Literal[1] = Field(1, alias="schema")
    model: str
    precision: str
    directory: str
    batch_size: int
    threads: int
    cpus: list[int]
    cpu: str
    paddle: str
    onednn: str
    images_repeated: bool  # the data file holds fewer images than the batch
    runs_ms: list[float]  # without any log
    logged_runs_ms: list[float]  # with oneDNN's log on
    before_ms: float  # from the call to the first operator: the input is copied
    steps: list[Step]
    left: list[Left]

    @property
    def total_ms(self) -> float:
        """Median of the runs without a log."""
        return sorted(self.runs_ms)[len(self.runs_ms) // 2]

    @property
    def inside_ms(self) -> float:
        return sum(step.ms for step in self.steps)

    @property
    def logged_ms(self) -> float:
        """Median of the runs with oneDNN's log on."""
        return sorted(self.logged_runs_ms)[len(self.logged_runs_ms) // 2]

    @property
    def disturbed(self) -> bool:
        """Whether the two kinds of run, which take turns, differ by more than a log costs."""
        return self.inside_ms > self.total_ms or not 0.9 < self.logged_ms / self.total_ms < 1.2

    def share(self, ms: float) -> float:
        return ms / self.total_ms
