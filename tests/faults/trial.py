"""One disturbed run: start a stage in a home, kill it at a moment or at a system call, look at what it left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cases
from cases import Case, State

# What changes a disk. Opening a file is not among them: what it leaves is there before the first write.
CALLS = ("write", "writev", "pwrite64", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir",
         "mkdirat", "symlink", "symlinkat", "fsync", "fdatasync", "truncate", "ftruncate", "flock", "fchmod", "chmod",
         "fchmodat", "sendfile", "copy_file_range")  # fmt: skip
MARK = "QAT8_FAULT_RUN"
LONGEST = 300  # seconds; a run that takes longer hangs
BUSY = 8


@dataclass
class Ended:
    """A run and how it ended: `code` is None when it hung; `at`: seconds from its start to its end."""

    code: int | None
    out: str
    err: str
    at: float
    survivors: list[str]


class Home:
    """A home that always has the same path, since paths are in what the stages write."""

    def __init__(self, case: Case, inputs: Path, path: Path) -> None:
        self.case, self.inputs, self.path = case, inputs, path
        self._kept = path.with_name(f"{path.name}-kept")

    def clear(self) -> None:
        self.remove()
        (self.path / "tmp").mkdir(parents=True)

    def fresh(self) -> None:
        self.clear()
        self.case.prepare(self.inputs, self.path)

    def remove(self) -> None:
        """All that is in it: it may be a mount point."""
        if self.path.is_dir():
            for entry in self.path.iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def keep(self) -> None:
        """Remember this state, for `back`."""
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self.path, self._kept, symlinks=True)

    def back(self) -> None:
        self.clear()
        shutil.copytree(self._kept, self.path, symlinks=True, dirs_exist_ok=True)

    def state(self) -> State:
        return cases.state(self.path, self.case.exact)

    def command(self) -> list[str]:
        return self.case.command(self.path, self.inputs)

    def start(self, prefix: list[str] | None = None, mark: str = "") -> subprocess.Popen:
        variables = {**self.case.variables(self.path, self.inputs), MARK: mark}
        return subprocess.Popen(
            [*(prefix or []), *self.command()], env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, prefix: list[str] | None = None) -> Ended:
        """To its own end, or to where `prefix` (strace) ends it."""
        mark = uuid.uuid4().hex
        return _ended(self.start(prefix, mark), mark, time.monotonic())

    def watched(self) -> tuple[Ended, float]:
        """To its own end; with the seconds from its first change of the home to that."""
        mark = uuid.uuid4().hex
        start, before = time.monotonic(), _glance(self.path)
        process = self.start(mark=mark)
        self._first_change(process, before)
        changed = time.monotonic()
        return _ended(process, mark, start), time.monotonic() - changed

    def _first_change(self, process: subprocess.Popen, before: list) -> None:
        while process.poll() is None and _glance(self.path) == before:
            time.sleep(0.002)

    def killed(self, after: float, written: bool, parent_alone: bool) -> Ended:
        """Killed `after` seconds, from its start or (`written`) from its first change of the home."""
        mark = uuid.uuid4().hex
        start, before = time.monotonic(), _glance(self.path)
        process = self.start(mark=mark)
        if written:
            self._first_change(process, before)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            if parent_alone:
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        return _ended(process, mark, start)


def _ended(process: subprocess.Popen, mark: str, start: float) -> Ended:
    code: int | None
    try:
        out, err = process.communicate(timeout=LONGEST)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        code = None
    return Ended(code, out, err, time.monotonic() - start, survivors(mark))


def survivors(mark: str, seconds: float = 20) -> list[str]:
    """Processes of a run that live on without it; they are ended."""
    deadline = time.monotonic() + seconds
    while (found := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return list(found.values())


def _marked(mark: str) -> dict[int, str]:
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(process.name)] = command.decode(errors="replace")
        except OSError:
            continue
    return found


def _glance(directory: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of everything but locks."""
    found = []
    pending = [directory]
    while pending:
        try:
            for entry in os.scandir(pending.pop()):
                status = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                if not entry.name.endswith(".lock"):
                    found.append((entry.path, status.st_size, status.st_mtime_ns if entry.is_file() else 0))
        except FileNotFoundError:
            continue
    return sorted(found)


# System calls, by strace.


def strace(*rules: str) -> list[str]:
    return ["strace", "-f", "-qq", "-o", os.devnull, *rules]  # with --seccomp-bpf strace 6.1 sends no signal


def killing(call: str, number: int) -> list[str]:
    """Ends a process as it enters its `number`-th call of this kind, from 1: the call is not made."""
    return strace("-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}")


def failing(call: str, number: int, error: str) -> list[str]:
    return strace("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}")


def calls(home: Home, log: Path) -> tuple[Ended, dict[str, int]]:
    """An undisturbed run, and how many calls of each kind the process made that made most."""
    prefix = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    ended = home.run(prefix)
    by_process: Counter[tuple[str, str]] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        if found := re.match(r"(\d+) +(\w+)\(", line):
            by_process[found[2], found[1]] += 1
    most: dict[str, int] = {}
    for (call, _), count in by_process.items():
        most[call] = max(most.get(call, 0), count)
    return ended, most
