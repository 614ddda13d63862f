"""Checkpoints: every persistable variable as plain arrays, and where training stands; written whole or not at all.

One file, so that state and position cannot disagree: an .npz whose entry `__position__` is JSON.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qat8.artifacts import atomic_file
from qat8.console import say
from qat8.training.programs import Session

PHASES = ("start", "ranges", "means", "updates", "done")


@dataclass
class Position:
    """`fingerprint` is of configuration, data and weights: a checkpoint of other ones is not resumed."""

    fingerprint: str
    phase: str = "start"
    updates: int = 0
    best_score: list[float] = dataclasses.field(default_factory=list)
    best_at: str = ""
    history: list[dict] = dataclasses.field(default_factory=list)


class Checkpoints:
    """latest.npz and best.npz of one training in `directory`."""

    def __init__(self, directory: Path, session: Session) -> None:
        self.latest, self.best, self._session = directory / "latest.npz", directory / "best.npz", session

    def save(self, position: Position) -> None:
        self._write(self.latest, position)

    def keep_best(self, position: Position) -> None:
        self._write(self.best, position)

    def _write(self, path: Path, position: Position) -> None:
        arrays = {name: self._session.get(name) for name in self._session.persistables}
        arrays["__position__"] = np.array(json.dumps(dataclasses.asdict(position)))
        with atomic_file(path) as temporary, open(temporary, "wb") as f:
            np.savez(f, **arrays)

    def resume(self, fingerprint: str) -> Position:
        """Load the latest state if it is of this very training; otherwise start anew, and say so."""
        return self._load(self.latest, fingerprint) or Position(fingerprint)

    def load_best(self, fingerprint: str) -> Position | None:
        return self._load(self.best, fingerprint)

    def _load(self, path: Path, fingerprint: str) -> Position | None:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                position = Position(**json.loads(str(arrays["__position__"])))
                known = set(arrays.files) == {*self._session.persistables, "__position__"}
                if position.fingerprint != fingerprint or not known:
                    say(f"{path.name} is of another configuration, data or weights: starting anew")
                    return None
                for name in self._session.persistables:
                    self._session.set(name, arrays[name])
                return position
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as e:
            say(f"{path.name} is not readable ({e}): starting anew")
            return None
