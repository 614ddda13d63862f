"""Which configurations are measured, and how often."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

from qat8 import artifacts, export, peers
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
PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class Cell:
    """What FP32 and INT8 are compared in: everything but the precision."""

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
    untrained: frozenset[str] = frozenset()  # models with random weights: their speed is real, an accuracy is not

    def cells(self) -> list[Cell]:
        testers = [*self.testers, *self.peers]
        return [Cell(*c) for c in itertools.product(self.models, testers, self.threads, self.batch_sizes)]

    def groups(self) -> list[list[Cell]]:
        """The cells by what they have in common but for the tester: each group is measured in one go, in turns."""
        found: dict[tuple, list[Cell]] = {}
        for cell in self.cells():
            found.setdefault((cell.model, cell.threads, cell.batch_size), []).append(cell)
        return list(found.values())

    def directory(self, cell: Cell, precision: str) -> Path:
        """The model that this cell's tester takes."""
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
            f"--warmup_size={self.warmup}",
            f"--min_seconds={self.min_seconds:g}",
        ]

    def settings(self) -> dict:
        """What makes two measurements of the same artifacts the same measurement."""
        return {
            "testers": self.testers, "threads": self.threads, "batch_sizes": self.batch_sizes, "cpus": self.cpus,
            "repetitions": self.repetitions, "min_seconds": self.min_seconds, "warmup": self.warmup,
            **({"peers": self.peers} if self.peers else {}), **self.load.settings(),
        }  # fmt: skip


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
        if not program.is_file():
            raise MachineError(f"{artifacts.shown(program)} is not built", next_step="inv build.tester")
