"""Which configurations are measured, and how often."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

from qat8 import artifacts, export, instructions, peers
from qat8.benchmarking import built
from qat8.benchmarking.load import NO_LOAD, Load
from qat8.errors import MachineError, UsageError

TESTER_DIR = artifacts.REPOSITORY / "tester"
ENGINE = export.TESTER
TESTERS = {
    "cpp": [str(TESTER_DIR / "build" / "sample_tester")],
    ENGINE: [str(TESTER_DIR / "build" / "engine_tester")],
    "python": [sys.executable, str(TESTER_DIR / "sample_tester.py")],
}
PEERS = {name: [str(peers.PYTHON), str(TESTER_DIR / "peer_tester.py"), name] for name in peers.NAMES}
PRECISIONS = ("fp32", "int8")  # of every run; what a ratio is of
BF16 = "bf16"  # the FP32 model, run in bfloat16, where it is asked for
IN_BF16 = (*TESTERS, *peers.IN_BF16)


@dataclass(frozen=True)
class Cell:
    """What the precisions are compared in: everything but the precision."""

    model: str
    tester: str
    threads: int
    batch_size: int

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.model}, {self.tester}, {threads}, batch {self.batch_size}"


@dataclass(frozen=True)
class Plan:
    """`models` maps a name to its {precision: directory}; few threads take the first of the CPUs `cpus`.

    `{model}` in `data` stands for the model's name: models of another input have files
    of their own.
    """

    models: dict[str, dict[str, Path]]
    data: Path
    testers: list[str]
    threads: list[int]
    batch_sizes: list[int]
    cpus: list[int]
    repetitions: int
    min_seconds: float
    warmup: int
    quick: bool = False
    load: Load = NO_LOAD
    peers: tuple[str, ...] = ()  # other engines, each a tester of its own models
    precisions: tuple[str, ...] = PRECISIONS
    untrained: frozenset[str] = frozenset()  # models with random weights: their speed is real, an accuracy is not

    def cells(self) -> list[Cell]:
        testers = [*self.testers, *self.peers]
        return [Cell(*c) for c in itertools.product(self.models, testers, self.threads, self.batch_sizes)]

    def precisions_of(self, tester: str) -> tuple[str, ...]:
        """What a tester or peer is measured in: not every peer runs BF16."""
        return tuple(p for p in self.precisions if p != BF16 or tester in IN_BF16)

    def turns(self) -> list[tuple[Cell, str]]:
        return [(cell, precision) for cell in self.cells() for precision in self.precisions_of(cell.tester)]

    def groups(self) -> list[list[Cell]]:
        """The cells by what they have in common but for the tester: each group is measured in one go, in turns."""
        found: dict[tuple, list[Cell]] = {}
        for cell in self.cells():
            found.setdefault((cell.model, cell.threads, cell.batch_size), []).append(cell)
        return list(found.values())

    def directory(self, cell: Cell, precision: str) -> Path:
        """The model that this cell's tester takes."""
        precision = "fp32" if precision == BF16 else precision
        if cell.tester in self.peers:
            return peers.directory(cell.model, cell.tester, precision)
        if cell.tester == ENGINE:
            return export.engine_file(self.models[cell.model][precision], precision)
        return self.models[cell.model][precision]

    def data_of(self, model: str) -> Path:
        return Path(str(self.data).replace("{model}", model))

    def engine_files(self) -> dict[str, dict[str, Path]]:
        """The engine's form of each model, by model and precision; none where the engine is not measured."""
        models = self.models if ENGINE in self.testers else {}
        return {n: {p: export.engine_file(d, p) for p, d in ds.items()} for n, ds in models.items()}

    def command(self, cell: Cell, precision: str) -> list[str]:
        """The tester's argv but for --json."""
        return [
            *(PEERS if cell.tester in self.peers else TESTERS)[cell.tester],
            f"--infer_model={artifacts.shown(self.directory(cell, precision))}",
            f"--infer_data={artifacts.shown(self.data_of(cell.model))}",
            f"--batch_size={cell.batch_size}",
            f"--num_threads={cell.threads}",
            *(["--bf16"] if precision == BF16 else []),
            f"--warmup_size={self.warmup}",
            f"--min_seconds={self.min_seconds:g}",
        ]

    def settings(self) -> dict:
        """What makes two measurements of the same artifacts the same measurement."""
        return {
            "testers": self.testers, "threads": self.threads, "batch_sizes": self.batch_sizes, "cpus": self.cpus,
            "repetitions": self.repetitions, "min_seconds": self.min_seconds, "warmup": self.warmup,
            **({"peers": self.peers} if self.peers else {}), **self.load.settings(),
            **({"precisions": self.precisions} if self.precisions != PRECISIONS else {}),
        }  # fmt: skip


def precisions(text: str, beyond: bool) -> tuple[str, ...]:
    """`int8,bf16,fp32` -> in the order in which they are measured.

    Args:
        beyond: scenarios or instances are measured, too; those are of FP32 and INT8.

    Raises:
        UsageError: unknown, or FP32 or INT8 is not among them, which every run compares.
        MachineError: this CPU has no bfloat16.
    """
    names, known = [word.strip() for word in text.split(",")], ("fp32", BF16, "int8")
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"--precisions: unknown precision {unknown[0]!r}", f"of {', '.join(known)}")
    if missing := [name for name in PRECISIONS if name not in names]:
        raise UsageError(f"--precisions={text} without {missing[0]}", "fp32 and int8, which are compared; bf16 may be "
                         "added")  # fmt: skip
    if BF16 in names and not instructions.has_bf16():
        raise MachineError("this CPU has no bfloat16 (avx512_bf16 or amx_bf16) that oneDNN may use",
                           next_step="--precisions=fp32,int8")  # fmt: skip
    if BF16 in names and beyond:
        raise UsageError("--precisions with bf16 and --scenario, --instances or --sweep", "one of the two: those are "
                         "measured in FP32 and INT8")  # fmt: skip
    return tuple(name for name in known if name in names)


def thread_counts(text: str, cpus: list[int]) -> list[int]:
    """`1,all` -> [1, len(cpus)], without repetition.

    Raises:
        UsageError: not such a list, or more threads than CPUs: they would share cores and measure waiting.
    """
    counts = []
    for part in text.split(","):
        word = part.strip()
        if word != "all" and not (word.isdigit() and int(word) > 0):
            raise UsageError(f"--threads {text!r}", "numbers from 1, or all")
        counts.append(len(cpus) if word == "all" else int(word))
    if max(counts) > len(cpus):
        raise UsageError(f"--threads {max(counts)} on {len(cpus)} CPUs", f"at most {len(cpus)}", "name more by --cpus")
    return list(dict.fromkeys(counts))


def require_testers(names: list[str]) -> None:
    for name in names:
        if name not in TESTERS:
            raise UsageError(f"unknown tester {name!r}", f"of {', '.join(TESTERS)}")
    for program in (Path(TESTERS[name][0]) for name in names if name != "python"):
        built.require(program, TESTER_DIR)
