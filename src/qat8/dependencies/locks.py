"""The locks: every package by version and SHA-256. uv resolves them; all of them together, or none.

A lock is made in a copy beside the others, because the groups are resolved under the run-time lock's versions
(`-c requirements.txt`). What is in a lock stays as it is unless an upgrade is asked for. One lock serves every Python
of PYTHONS: where one needs another version than the others, the package is pinned twice, by markers.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker

from qat8 import artifacts
from qat8.console import say
from qat8.errors import MachineError, UsageError

PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)(?: *; *([^\\\n]*[^\\\s]))?", re.MULTILINE)
ENTRY = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)
PYTHONS = ("3.9", "3.10", "3.11")
# What src/setup.sh lets through; uv writes it to every line, where it says nothing: see `_shorter`.
HERE = ("python_full_version < '3.12'", "implementation_name == 'cpython'", "sys_platform == 'linux'")


@dataclass(frozen=True)
class Lock:
    name: str
    what: str
    more: tuple[str, ...] = ()
    pythons: tuple[str, ...] = PYTHONS  # for which it is resolved

    @property
    def file(self) -> str:
        return f"{self.name}.txt"


@dataclass(frozen=True)
class Pin:
    name: str  # normal
    version: str
    pythons: tuple[str, ...]  # of PYTHONS


RUNTIME = Lock("requirements", "run time", ("--override", "requirements-overrides.in"))
DEVELOPMENT = Lock("requirements-dev", "development")
MLFLOW = Lock("requirements-mlflow", "optional: mlflow", pythons=("3.10", "3.11"))  # src/qat8/tracking.py says why
DASK = Lock("requirements-dask", "optional: dask")
# torch, numpy and onnxruntime of these versions have no wheels for older Pythons.
PEERS = Lock("requirements-peers", "the peers' environment", pythons=("3.11",))
ALL = (RUNTIME, DEVELOPMENT, MLFLOW, DASK, PEERS)


def normal(name: str) -> str:
    """A package's name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: Lock, directory: Path = artifacts.REPOSITORY) -> list[Pin]:
    """What the lock pins, in its order."""
    return [_pin(found, lock) for found in PIN.finditer((directory / lock.file).read_text())]


def _pin(found: re.Match, lock: Lock) -> Pin:
    name, version, marker = found.groups()
    fits = [p for p in lock.pythons if not marker or Marker(marker).evaluate(_environment(p))]
    return Pin(normal(name), version, tuple(fits))


def _environment(python: str) -> dict[str, str]:
    return {"python_version": python, "python_full_version": f"{python}.99"}


def versions(lock: Lock, directory: Path = artifacts.REPOSITORY) -> dict[str, str]:
    """Package -> its versions, by comma where there are several."""
    found: dict[str, list[str]] = {}
    for pin in pins(lock, directory):
        found.setdefault(pin.name, []).append(pin.version)
    return {name: ", ".join(several) for name, several in found.items()}


def text_for(lock: Lock, python: str, directory: Path = artifacts.REPOSITORY, only: Collection[Pin] = ()) -> str:
    """The lock's entries for one Python (of them `only` these), without markers: pip, told to fetch for another Python
    than its own, would read them for its own."""
    kept = []
    for entry in ENTRY.split((directory / lock.file).read_text()):
        if (found := PIN.match(entry)) and python in (pin := _pin(found, lock)).pythons and (not only or pin in only):
            kept.append(_marked(found, "") + entry[found.end() :])
    return "".join(kept)


def without_hash(lock: Lock, directory: Path = artifacts.REPOSITORY) -> list[str]:
    """The packages of a lock that pip would install unchecked; none, if all is well."""
    entries = ENTRY.split((directory / lock.file).read_text())
    return [e.splitlines()[0] for e in entries if PIN.match(e) and "--hash=sha256:" not in e]


def renew(locks: list[Lock], upgrade: bool, packages: list[str], find_links: str = "",
          directory: Path = artifacts.REPOSITORY) -> None:  # fmt: skip
    """Resolve the locks anew; `packages`, or with `upgrade` all, are taken to the newest version that fits.

    Raises:
        MachineError: uv could not; its own words. No lock has changed.
        UsageError: a package that no lock has.
    """
    known = {pin.name for lock in locks for pin in pins(lock, directory)}
    if missing := [name for name in packages if normal(name) not in known]:
        raise UsageError(f"--package {missing[0]}", f"a package of {', '.join(lock.file for lock in locks)}")
    with tempfile.TemporaryDirectory(prefix="qat8-lock-") as copy:
        for path in directory.glob("requirements*"):
            shutil.copy(path, copy)
        (Path(copy) / "pyproject.toml").write_text(f'[tool.uv]\nenvironments = ["{" and ".join(HERE)}"]\n')
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
        "--no-emit-find-links", *(["--universal"] if len(lock.pythons) > 1 else []),
        f"--python={sys.executable}", f"--python-version={lock.pythons[0]}", "--custom-compile-command=make lock",
        *lock.more, *more,
        f"--output-file={lock.file}", f"{lock.name}.in",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = " ".join(line.strip(" │╰─▶×") for line in done.stderr.splitlines()).strip()
        raise MachineError(f"{lock.name}.in: {said or 'uv said nothing'}", next_step="loosen it, or check the network")
    file = directory / lock.file
    file.write_text(PIN.sub(_shorter, file.read_text()))


def _shorter(found: re.Match) -> str:
    """A pin whose marker leaves out what is true wherever a lock is installed."""
    if not found[3]:
        return found[0]
    return _marked(found, " and ".join(part for part in found[3].split(" and ") if part not in HERE))


def _marked(found: re.Match, marker: str) -> str:
    """A pin with another marker."""
    return found.string[found.start() : found.end(2)] + (f" ; {marker}" if marker else "")


def moved(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[tuple[str, str, str, str]]:
    """(package, version before, version after, locks), for each that is not the same; empty: not there."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for lock in before:
        for name in sorted({*before[lock], *after[lock]}):
            old, new = before[lock].get(name, ""), after[lock].get(name, "")
            if old != new:
                found.setdefault((name, old, new), []).append(lock)
    return [(*what, ", ".join(where)) for what, where in sorted(found.items())]
