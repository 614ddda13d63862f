"""The locks: every package by version and SHA-256. uv resolves them; all of them together, or none.

A lock is made in a copy beside the others, because the groups are resolved under the run-time lock's versions
(`-c requirements.txt`). What is in a lock stays as it is unless an upgrade is asked for.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from qat8 import artifacts
from qat8.console import say
from qat8.errors import MachineError, UsageError

PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


@dataclass(frozen=True)
class Lock:
    name: str
    what: str
    more: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        return f"{self.name}.txt"


RUNTIME = Lock("requirements", "run time", ("--override", "requirements-overrides.in"))
DEVELOPMENT = Lock("requirements-dev", "development")
MLFLOW = Lock("requirements-mlflow", "optional: mlflow")
DASK = Lock("requirements-dask", "optional: dask")
PEERS = Lock("requirements-peers", "the peers' environment")
ALL = (RUNTIME, DEVELOPMENT, MLFLOW, DASK, PEERS)


def normal(name: str) -> str:
    """A package's name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: Lock, directory: Path = artifacts.REPOSITORY) -> dict[str, str]:
    """Package -> version, as the lock has them."""
    return {normal(name): version for name, version in PIN.findall((directory / lock.file).read_text())}


def without_hash(lock: Lock, directory: Path = artifacts.REPOSITORY) -> list[str]:
    """The packages of a lock that pip would install unchecked; none, if all is well."""
    entries = re.split(r"\n(?=[A-Za-z0-9])", (directory / lock.file).read_text())
    return [e.splitlines()[0] for e in entries if PIN.match(e) and "--hash=sha256:" not in e]


def renew(locks: list[Lock], upgrade: bool, packages: list[str], find_links: str = "",
          directory: Path = artifacts.REPOSITORY) -> None:  # fmt: skip
    """Resolve the locks anew; `packages`, or with `upgrade` all, are taken to the newest version that fits.

    Raises:
        MachineError: uv could not; its own words. No lock has changed.
        UsageError: a package that no lock has.
    """
    known = {name for lock in locks for name in pins(lock, directory)}
    if missing := [name for name in packages if normal(name) not in known]:
        raise UsageError(f"--package {missing[0]}", f"a package of {', '.join(lock.file for lock in locks)}")
    with tempfile.TemporaryDirectory(prefix="qat8-lock-") as copy:
        for path in directory.glob("requirements*"):
            shutil.copy(path, copy)
        for lock in locks:
            wanted = ["--upgrade"] if upgrade else [f"--upgrade-package={name}" for name in packages]
            _compile(lock, Path(copy), [*wanted, *([f"--find-links={find_links}"] if find_links else [])])
            if unhashed := without_hash(lock, Path(copy)):
                raise MachineError(f"{lock.file}: {unhashed[0]} has no hash", next_step="ask its index why")
        for lock in locks:
            with artifacts.atomic_file(directory / lock.file) as temporary:
                shutil.copyfile(Path(copy) / lock.file, temporary)


def _compile(lock: Lock, directory: Path, more: list[str]) -> None:
    say(f"resolving {lock.name}.in")
    command = [
        sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-emit-index-url",
        "--no-emit-find-links", "--python-version=3.11", "--custom-compile-command=make lock", *lock.more, *more,
        f"--output-file={lock.file}", f"{lock.name}.in",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = " ".join(line.strip(" │╰─▶×") for line in done.stderr.splitlines()).strip()
        raise MachineError(f"{lock.name}.in: {said or 'uv said nothing'}", next_step="loosen it, or check the network")


def moved(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[tuple[str, str, str, str]]:
    """(package, version before, version after, locks), for each that is not the same; empty: not there."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for lock in before:
        for name in sorted({*before[lock], *after[lock]}):
            old, new = before[lock].get(name, ""), after[lock].get(name, "")
            if old != new:
                found.setdefault((name, old, new), []).append(lock)
    return [(*what, ", ".join(where)) for what, where in sorted(found.items())]
