"""Starts the testers, reads what they are every few seconds, and ends them whatever happens."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from qat8 import processes
from qat8.console import Bar
from qat8.errors import VerificationError
from qat8.soak import judge
from qat8.soak.record import Process, Sample
from qat8.soak.sampling import sample

WARM_ROUNDS = 2  # of all batch sizes: oneDNN's and Paddle's caches have then seen what they will see
WARM_SHARE = 0.2  # of the time, at least
_LINE = re.compile(rb"soak: ([\d.]+) s, rounds (\d+), batches (\d+), images (\d+), other class (\d+)\n")
_TAIL = 4096  # bytes of a tester's output that hold its last line


@dataclass
class Child:
    name: str
    command: list[str]
    process: subprocess.Popen
    output: object
    errors: object
    samples: list[Sample] = field(default_factory=list)
    warm_seconds: float | None = None
    rounds: int = 0
    batches: int = 0
    images: int = 0
    other_class: int = 0

    def look(self, seconds: float, warm_from: float) -> None:
        """Take a sample, and what the tester says of itself."""
        if found := sample(self.process.pid, seconds):
            self.samples.append(found)
        self.read()
        if self.warm_seconds is None and self.rounds >= WARM_ROUNDS and seconds >= warm_from:
            self.warm_seconds = seconds

    def read(self) -> None:
        self.output.seek(max(0, self.output.seek(0, 2) - _TAIL))
        if lines := _LINE.findall(self.output.read()):
            self.rounds, self.batches, self.images, self.other_class = map(int, lines[-1][1:])

    def require_well(self) -> None:
        """Raises: the class of its exit code, when it has ended badly."""
        if code := self.process.poll():
            self.errors.seek(0)
            raise processes.failure(self.command, code, self.errors.read().decode(errors="replace"))

    def record(self) -> Process:
        """
        Raises:
            VerificationError: too short to judge anything.
        """
        self.read()
        growth = judge.judge(self.samples, self.warm_seconds) if self.warm_seconds is not None else []
        if not growth:
            raise VerificationError(
                f"{self.name}: only {self.rounds} rounds of all batch sizes, {len(self.samples)} samples",
                f"{WARM_ROUNDS} rounds and then {judge.LEAST_SAMPLES} samples", "more --minutes, or a smaller batch",
            )  # fmt: skip
        return Process(
            name=self.name, command=self.command, warm_seconds=self.warm_seconds, rounds=self.rounds,
            batches=self.batches, images=self.images, other_class=self.other_class, samples=self.samples,
            growth=growth,
        )  # fmt: skip


def watch(
    commands: dict[str, Sequence[str]], environment: dict[str, str], seconds: float, every: float
) -> list[Process]:
    """Run all commands at once to their end, each a tester with `--scenario=soak --duration=SECONDS`.

    Raises:
        StageError, or the class that an exit code stands for: one failed; the others are ended.
        VerificationError: the time was too short to judge.
    """
    with _started(commands, environment) as children, Bar("soak", round(seconds)) as bar:
        start = now = time.monotonic()
        while any(child.process.poll() is None for child in children):
            time.sleep(max(0.0, now + every - time.monotonic()))
            now = time.monotonic()
            for child in children:
                child.look(now - start, WARM_SHARE * seconds)
                child.require_well()
            newest = (max(s.anonymous for s in child.samples[-1:]) for child in children if child.samples)
            done = max(0, min(round(seconds), round(now - start)) - bar.done)
            bar.advance(done, note=f"{sum(newest) / judge.MIB:.0f} MiB")
        for child in children:
            child.require_well()
        return [child.record() for child in children]


@contextlib.contextmanager
def _started(commands: dict[str, Sequence[str]], environment: dict[str, str]) -> Iterator[list[Child]]:
    """The processes; whatever happens, none of them outlives the block."""
    with contextlib.ExitStack() as files:
        children: list[Child] = []
        try:
            for name, command in commands.items():
                output, errors = (files.enter_context(tempfile.TemporaryFile()) for _ in range(2))
                process = subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                                           stdout=output, stderr=errors,
                                           preexec_fn=processes.ends_with_parent())  # fmt: skip
                children.append(Child(name, list(command), process, output, errors))
            yield children
        finally:
            for child in children:
                child.process.kill()
                child.process.wait()
