"""Several testers at once on disjoint cores: started together, measured over the window that all of them share."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qat8 import artifacts, latencies, processes, scenario_results
from qat8.errors import StageError
from qat8.latencies import Queries
from qat8.older_python import zip_strict
from qat8.scenario_results import ScenarioRun

START_NS = 100_000_000  # from the word to the start: every tester has read it by then


@dataclass(frozen=True)
class Window:
    """The time in which all instances worked, in nanoseconds on CLOCK_MONOTONIC."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True)
class Group:
    """What the instances that ran at once gave, one entry per instance."""

    runs: list[ScenarioRun]
    queries: list[Queries]

    @property
    def window(self) -> Window:
        return common_window(self.queries)

    def images_per_second(self) -> list[float]:
        window = self.window
        return [images_inside(queries, window) / window.seconds for queries in self.queries]


def common_window(instances: Sequence[Queries]) -> Window:
    """From the last instance's first batch to the first instance's last.

    Outside of it some cores rest, and those that work are faster than they are together.

    Raises:
        StageError: there is none: an instance had ended before another began.
    """
    window = Window(max(int(q.start_ns[0]) for q in instances), min(int(q.end_ns[-1]) for q in instances))
    if window.seconds <= 0:
        raise StageError("the instances did not run at the same time", "a window that all share", "measure for longer")
    return window


def images_inside(queries: Queries, window: Window) -> float:
    """Images that were computed within the window; of a batch across its edge, the share of its time inside.

    Counting only whole batches would take half a batch from each instance but the one whose end ends the window.
    """
    start = np.maximum(queries.start_ns, window.start_ns)
    inside = np.clip(np.minimum(queries.end_ns, window.end_ns) - start, 0, None)
    return float((inside / (queries.end_ns - queries.start_ns)).sum() * queries.images_per_query)


def run(commands: Sequence[Sequence[str]], threads: int) -> Group:
    """Start one tester per command, let all begin at the same moment, and wait for all.

    The commands are those of `sample_tester --scenario=...` without --barrier, --json and --latencies_file.

    Raises:
        StageError, or the class that an exit code stands for: one failed; the others are ended.
    """
    with artifacts.scratch() as directory:
        files = [(directory / f"{i}.json", directory / f"{i}.raw") for i in range(len(commands))]
        full = [
            [*command, "--barrier", f"--json={json}", f"--latencies_file={raw}"]
            for command, (json, raw) in zip_strict(commands, files)
        ]
        with _started(full, processes.openmp(threads)) as children:
            for child in children:
                child.require_ready()
            start = time.monotonic_ns() + START_NS
            for child in children:
                child.say(f"{start}\n")
            for child in children:
                child.require_end()
        return Group([scenario_results.load(j) for j, _ in files], [latencies.load(raw) for _, raw in files])


class _Child:
    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command, self._errors = command, tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        self._process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, text=True, preexec_fn=processes.ends_with_parent(),
        )  # fmt: skip

    def require_ready(self) -> None:
        if self._process.stdout.readline() != "ready\n":
            self._process.wait()
            raise self._failure()

    def say(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died since: `require_end` says of what
            self._process.stdin.write(line)
            self._process.stdin.close()

    def require_end(self) -> None:
        self._process.stdout.read()
        if self._process.wait():
            raise self._failure()

    def _failure(self) -> Exception:
        self._errors.seek(0)
        return processes.failure(self._command, self._process.returncode, self._errors.read().decode(errors="replace"))

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@contextlib.contextmanager
def _started(commands: Sequence[list[str]], environment: dict[str, str]) -> Iterator[list[_Child]]:
    """The processes; whatever happens, none of them outlives the block."""
    children: list[_Child] = []
    try:
        for command in commands:
            children.append(_Child(command, environment))
        yield children
    finally:
        for child in children:
            child.close()
