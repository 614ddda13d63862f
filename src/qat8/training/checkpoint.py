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

from qat8.artifacts import atomic_file, remove_leftovers
from qat8.console import say
from qat8.training.programs import Session

PHASES = ("start", "ranges", "means", "updates", "done")


@dataclass
class Position:
    """`fingerprint` is of configuration, data and weights: a checkpoint of other ones is not resumed."""

    fingerprint: str
    phase: str = "start"
    updates: int = 0
    best_divergence: float = 0.0  # of the state in best.npz; without meaning while best_at is empty
    best_at: str = ""
    history: list[dict] = dataclasses.field(default_factory=list)


class Checkpoints:
    """latest.npz and best.npz of one training in `directory`, for who holds the lock of the model."""

    def __init__(self, directory: Path, session: Session) -> None:
        self.latest, self.best, self._session = directory / "latest.npz", directory / "best.npz", session
        remove_leftovers(self.latest)
        remove_leftovers(self.best)

    def save(self, position: Position) -> None:
        self._write(self.latest, position)

    def keep_best(self, position: Position) -> None:
        self._write(self.best, position)

    def _write(self, path: Path, position: Position) -> None:
        arrays = {name: self._session.get(name) for name in self._session.persistables}
        arrays["__position__"] = np.array(json.dumps(dataclasses.asdict(position)))
        # As np.savez writes it, which on a full disk leaves an archive behind that complains when it is collected.
        with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)

    def resume(self, fingerprint: str) -> Position:
        """Load the latest state if it is of this very training and whole; otherwise start anew, and say so."""
        found = self._read(self.latest, fingerprint)
        if found and found[0].best_at and not self._read(self.best, fingerprint):
            say(f"{self.best.name}, which the training would end with, cannot be used: starting anew")
            found = None
        return self._load(found) or Position(fingerprint)

    def load_best(self, fingerprint: str) -> Position | None:
        return self._load(self._read(self.best, fingerprint))

    def _read(self, path: Path, fingerprint: str) -> tuple[Position, dict[str, np.ndarray]] | None:
        """All of it before anything is set: a damaged file must not leave half of its state in the session."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                position = Position(**json.loads(str(arrays["__position__"])))
                known = set(arrays.files) == {*self._session.persistables, "__position__"}
                if position.fingerprint != fingerprint or not known:
                    say(f"{path.name} is of another configuration, data or weights: starting anew")
                    return None
                state = {name: arrays[name] for name in self._session.persistables}
                self._require_fit(position, state)
                return position, state
        except FileNotFoundError:
            return None
        except MemoryError:
            raise
        except Exception as e:  # damage in a zip file can raise anything
            say(f"{path.name} is not readable ({e}): starting anew")
            return None

    def _require_fit(self, position: Position, state: dict[str, np.ndarray]) -> None:
        """
        Raises:
            ValueError: numbers of another kind or shape than the training has, or a position that there is not.
        """
        for name, value in state.items():
            if value.dtype.kind not in "fiub" or value.shape != self._session.get(name).shape:
                raise ValueError(f"{name} is {value.dtype}{list(value.shape)}")
        kinds = {"phase": str, "updates": int, "best_divergence": (float, int), "best_at": str, "history": list}
        plain = all(isinstance(getattr(position, name), kind) for name, kind in kinds.items())
        if not plain or position.phase not in PHASES or position.updates < 0:
            raise ValueError("no position of a training")

    def _load(self, found: tuple[Position, dict[str, np.ndarray]] | None) -> Position | None:
        if not found:
            return None
        position, arrays = found
        for name, value in arrays.items():
            self._session.set(name, value)
        return position


class NoCheckpoints:
    """Of the processes that leave reading and writing to the first one, and follow it."""

    def save(self, position: Position) -> None: ...

    def keep_best(self, position: Position) -> None: ...

    def load_best(self, fingerprint: str) -> Position:
        return Position(fingerprint)


def agreed(position: Position, session: Session) -> Position:
    """Where the first process stands, in all of them; so with the variables."""
    if session.group.size == 1:
        return position
    session.follow_first()
    return Position(**json.loads(session.group.text_from_first(json.dumps(dataclasses.asdict(position)))))
