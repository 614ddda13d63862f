"""What a training measures of itself: metrics.jsonl, a line an update and a line a validation, and TensorBoard's files.

A training that goes on after an interruption first takes out what it had written after its checkpoint: the file is then
the one of a training that was never interrupted, but for the `seconds`.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from qat8.artifacts import atomic_file, remove_leftovers
from qat8.training.checkpoint import Position


class Metrics:
    """`directory` holds metrics.jsonl and events/ (`tensorboard --logdir` reads them); for who holds the lock."""

    def __init__(self, directory: Path, position: Position) -> None:
        self.file, events = directory / "metrics.jsonl", directory / "events"
        remove_leftovers(self.file)
        kept = _of(self.file, position)
        with atomic_file(self.file) as temporary:
            temporary.write_text("".join(kept))
        if not kept:
            shutil.rmtree(events, ignore_errors=True)
        self._lines = open(self.file, "a", encoding="utf-8")  # noqa: SIM115 (closed by `close`)
        self._events = _Events(events, position.updates + 1 if kept else None)

    def updated(self, update: int, epoch: int, loss: float, top1: float, rate: float, seconds: float) -> None:
        """`update` counts from 1; loss and top1 are of its batch; `seconds` since the update before."""
        self._write("update", update, epoch=epoch, loss=loss, top1=top1, rate=rate, seconds=round(seconds, 4))

    def judged(self, update: int, at: str, score: dict, best: bool) -> None:
        self._write("validation", update, at=at, **score, best=best)

    def _write(self, kind: str, update: int, **values) -> None:
        self._lines.write(json.dumps({"kind": kind, "update": update, **values}) + "\n")
        self._lines.flush()
        for name, value in values.items():
            if isinstance(value, float):
                self._events.scalar(f"{kind}/{name}", value, update)

    def close(self) -> None:
        self._lines.close()
        self._events.close()


class _Events:
    """An event file of TensorBoard, written here and now.

    Not tensorboardX's SummaryWriter: its thread dies of a full disk, and the training then waits for it for ever.
    """

    def __init__(self, directory: Path, purge_step: int | None) -> None:
        """`purge_step`: TensorBoard forgets what earlier files say of this and later updates."""
        directory.mkdir(parents=True, exist_ok=True)
        # Its name has the time in seconds; with the process two trainings of one second have files of their own.
        self._file = EventsWriter(str(directory / "events"), f".{os.getpid()}")
        if purge_step is not None:
            self._write(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._write(Event(step=step, summary=scalar(tag, value)))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._file.write_event(event)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class NoMetrics:
    """Of the processes that leave writing to the first one."""

    def updated(self, *_, **__) -> None: ...

    def judged(self, *_, **__) -> None: ...

    def close(self) -> None: ...


def _of(file: Path, position: Position) -> list[str]:
    """The lines of `file` that came before the checkpoint; the last one of a killed run may be half a line."""
    if position.phase == "start" or not file.is_file():
        return []
    judged = {entry["at"] for entry in position.history}
    kept = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            entry = json.loads(line)
            mine = entry["at"] in judged if entry["kind"] == "validation" else entry["update"] <= position.updates
        except (ValueError, KeyError, TypeError):
            continue
        if mine and line.endswith("\n"):
            kept.append(line)
    return kept
