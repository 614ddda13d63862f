"""Tries programs on hostile files, in worker processes with a limit of memory and of time, and judges how they end.

What may come of a file: it is taken, or it is refused with one line on stderr and an exit code of its cause. Anything
else is a find: another code, a traceback, a crash, a hang, memory without bound, something that was run.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MEMORY = 3 << 30  # bytes of address space that a case may take beyond what its process has when it starts
SECONDS = 20.0  # of one case
CHUNK = 200  # cases of one worker process


@dataclass(frozen=True)
class Ending:
    """How a program ended on a file; `code` is an exit code, `said` what it printed on stderr."""

    code: int
    said: str = ""
    more: str = ""  # what else is wrong, in words


@dataclass
class Kind:
    """A kind of file: `make(random, directory)` writes a hostile one into an empty directory and gives its path;
    `attempt(path)` uses it. `codes`: exit codes that are right for it, beside 0 and 5 (no memory)."""

    name: str
    make: Callable[[random.Random, Path], Path]
    attempt: Callable[[Path], Ending]
    codes: tuple[int, ...]
    cases: int
    small: int = 20  # cases in the normal tests
    crashes: bool = False  # native code may die: a process for each case
    group: str = ""


@dataclass
class Report:
    kind: str
    group: str
    cases: int = 0
    ends: Counter = field(default_factory=Counter)
    finds: list[dict] = field(default_factory=list)
    seconds: float = 0.0
    peak_bytes: int = 0
    slowest_seconds: float = 0.0

    def row(self) -> dict:
        return {**vars(self), "ends": {str(k): n for k, n in sorted(self.ends.items())}}


class Slow(BaseException):
    """The case took too long; no `except Exception` may swallow that."""


def command_line(main: Callable[[list[str]], None], *argv) -> Ending:
    """A stage's `main` as its command line runs it, in this process."""
    from qat8 import cli

    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.run(main, [str(a) for a in argv])
        except SystemExit as e:
            code = e.code or 0
    return Ending(code, err.getvalue())


def judge(kind: Kind, ending: Ending) -> str:
    """What is wrong with an ending; "" if nothing is."""
    if ending.more:
        return ending.more
    if ending.code not in (0, 5, *kind.codes):
        return f"exit code {ending.code}"
    lines = ending.said.splitlines()
    if ending.code and (len(lines) != 1 or not lines[0].startswith("error: ")):
        return f"{len(lines)} lines on stderr"
    if "Traceback" in ending.said:
        return "a traceback"
    if any(not (c.isprintable() or c == "\n") for c in ending.said):
        return "control characters on the terminal"
    return "a line of more than 3000 characters" if any(len(line) > 3000 for line in lines) else ""


def run(kind: Kind, cases: Iterable[int], scratch: Path, keep: Path) -> Report:
    """Try the cases of these numbers. Files that found something are copied to `keep`."""
    report, start, todo = Report(kind.name, kind.group), time.monotonic(), list(cases)
    while todo:
        chunk, todo = todo[: 1 if kind.crashes else CHUNK], todo[1 if kind.crashes else CHUNK :]
        done = _worker(kind, chunk, scratch, report)
        if done < len(chunk):  # it died over this one
            todo = chunk[done + 1 :] + todo
        for find in report.finds:
            _keep(kind, find, scratch, keep)
    report.seconds = time.monotonic() - start
    return report


def _worker(kind: Kind, cases: list[int], scratch: Path, report: Report) -> int:
    """Fork, try, note; how many of the cases ended by themselves."""
    sys.stdout.flush()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _child(kind, cases, scratch, write)
    os.close(write)
    done = 0
    for line in _lines(read, child):
        entry = json.loads(line)
        report.cases += 1
        report.ends[entry["code"]] += 1
        report.slowest_seconds = max(report.slowest_seconds, entry["seconds"])
        if entry["find"]:
            report.finds.append({k: entry[k] for k in ("case", "find", "said")})
        done += 1
    _, status, usage = os.wait4(child, 0)
    report.peak_bytes = max(report.peak_bytes, usage.ru_maxrss * 1024)
    if done < len(cases):
        signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        how = "a hang" if signalled == signal.SIGKILL else f"death by signal {signalled}" if signalled else "it exited"
        report.cases += 1
        report.ends[how] += 1
        report.finds.append({"case": cases[done], "find": how, "said": f"status {status}"})
    return done


def _lines(read: int, child: int) -> Iterator[bytes]:
    """What the worker notes, a line a case. Native code that loops does not come back to the alarm's handler: a worker
    that is silent for so long is ended."""
    rest = b""
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while True:
            if not select.select([pipe], [], [], 3 * SECONDS)[0]:
                os.kill(child, signal.SIGKILL)
                return
            got = pipe.read(65536)
            if not got:
                return
            *lines, rest = (rest + got).split(b"\n")
            yield from lines


def _child(kind: Kind, cases: list[int], scratch: Path, write: int) -> None:
    signal.signal(signal.SIGALRM, _slow)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_WRONLY)
    for fd in (1, 2):  # what native code prints; what Python prints is caught
        os.dup2(null, fd)
    for case in cases:
        start = time.monotonic()
        ending, find = _one(kind, case, scratch)
        entry = {"case": case, "code": ending.code, "find": find, "said": ending.said[-1500:],
                 "seconds": time.monotonic() - start}  # fmt: skip
        os.write(write, (json.dumps(entry) + "\n").encode())
    os._exit(0)


def _one(kind: Kind, case: int, scratch: Path) -> tuple[Ending, str]:
    path = written(kind, case, scratch)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        ending = kind.attempt(path)
        find = judge(kind, ending)
    except Slow:
        ending, find = Ending(-1, f"more than {SECONDS:.0f} s"), "a hang"
    except MemoryError:
        ending, find = Ending(-1, traceback.format_exc()), "MemoryError"
    except BaseException:
        ending, find = Ending(-1, traceback.format_exc()), "an exception"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return ending, find


def written(kind: Kind, case: int, scratch: Path) -> Path:
    """The file of a case, made again from its number."""
    directory = scratch / kind.name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return kind.make(random.Random(f"{kind.name} {case}"), directory)


def _slow(*_) -> None:
    raise Slow


def _keep(kind: Kind, find: dict, scratch: Path, keep: Path) -> None:
    target = keep / f"{kind.name}-{find['case']}"
    if not target.exists():
        written(kind, find["case"], scratch)
        shutil.copytree(scratch / kind.name, target, dirs_exist_ok=True)
