"""What the stages print: steps with their time, and progress bars on a terminal or sparse lines in a log."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# Paths and figures must stay copyable, so nothing is folded or coloured by guess.
console = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    console.print(text, markup=False)
    console.file.flush()  # the lines of a stage must not overtake those of the task that started it


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Announce a step, and say how long it took when it ends well."""
    say(f"{what} ...")
    start = time.perf_counter()
    yield
    say(f"{what}: done in {time.perf_counter() - start:.1f} s")


@contextlib.contextmanager
def native_stderr_kept_back() -> Iterator[None]:
    """Keep what Paddle's C++ passes print on file descriptor 2 to ourselves, unless the block fails."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            log.seek(0)
            if os.environ.get("QAT8_DEBUG"):
                sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


class Bar:
    """A progress bar; where there is no terminal, a line at most every ten seconds. A `unit` shows its rate."""

    LOG_SECONDS = 10.0

    def __init__(self, what: str, total: int, done: int = 0, unit: str = "") -> None:
        self.what, self.total, self.done, self.note = what, total, done, ""
        self._unit, self._before, self._start = unit, done, time.monotonic()
        self._last = self._start
        self._live = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console, transient=True,
        ) if console.is_terminal else None  # fmt: skip
        if self._live:
            self._task = self._live.add_task(what, total=total, completed=done, note="")

    def __enter__(self) -> Bar:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc) -> None:
        if self._live:
            self._live.stop()

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done, self.note = self.done + n, note or self.note
        if self._unit:
            self.note = self._speed()
        if self._live:
            self._live.update(self._task, advance=n, note=self.note)
        elif time.monotonic() - self._last > self.LOG_SECONDS:
            self._last = time.monotonic()
            say(f"  {self.what}: {self.done} of {self.total} {self.note}".rstrip())

    def _speed(self) -> str:
        """Of this run: what an earlier one did took no time now."""
        rate = max(self.done - self._before, 0) / max(time.monotonic() - self._start, 1e-3)
        left = "" if self._live or not rate else f", {duration((self.total - self.done) / rate)} left"
        return f"{rate:.1f} {self._unit}/s{left}"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
