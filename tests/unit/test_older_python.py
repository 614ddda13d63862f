"""The oldest Python that is promised: what newer ones have is not used, or stands in older_python.py."""

import ast
import hashlib
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qat8 import older_python
from qat8.dependencies import locks
from qat8.errors import MachineError

REPO = Path(__file__).resolve().parents[2]
LISTED = subprocess.run(["git", "-C", REPO, "ls-files", "-z", "*.py"], capture_output=True, text=True, check=True)
FILES = [REPO / name for name in filter(None, LISTED.stdout.split("\0")) if (REPO / name).is_file()]
OLDER = [python for python in locks.PYTHONS if python != "3.11"]
# Members that 3.9 has not, found by `vermin`; ruff finds syntax, and annotations without the import from the future.
NEWER = {"tomllib", "pairwise", "file_digest", "UTC", "StrEnum", "ExceptionGroup", "TaskGroup", "orig_argv", "batched",
         "hardlink_to", "process_group", "kw_only", "slots", "add_note", "bit_count"}  # fmt: skip
# These import the standard library alone: an interpreter without packages can import them.
PLAIN = ("archives", "checksum", "errors", "instructions", "kernel", "labels", "paddle_error", "processes", "redact",
         "tutorial", "profiling.log", "training.rendezvous")  # fmt: skip


def interpreter(python: str) -> str:
    """An interpreter of this version: this one, one of the PATH, or one of pyenv's."""
    if python == ".".join(map(str, older_python.VERSION)):
        return sys.executable
    found = [
        shutil.which(f"python{python}"),
        *map(str, sorted(Path.home().glob(f".pyenv/versions/{python}.*/bin/python"))),
    ]
    for path in filter(None, found):
        said = subprocess.run(
            [path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True
        )
        if said.stdout.strip() == python:
            return path
    pytest.skip(f"no Python {python} on this machine")


def newer(tree: ast.AST) -> list[str]:
    """What of NEWER, of `zip(strict=...)` and of `X | Y` for isinstance a module uses."""
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, (ast.Import, ast.ImportFrom)) and getattr(node, "module", "") != "qat8.older_python":
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "id", "")
            names = [word.arg for word in node.keywords if called in ("", "dataclass")]
            if called == "zip" and any(word.arg == "strict" for word in node.keywords):
                names = [*names, "zip(strict=)"]
            if called in ("isinstance", "issubclass") and isinstance(node.args[1], ast.BinOp):
                names = [*names, "X | Y"]
        found += [f"{node.lineno}: {name}" for name in names if name in (*NEWER, "zip(strict=)", "X | Y")]
    return found


def test_no_file_uses_what_the_oldest_python_has_not():
    assert len(FILES) > 300
    found = {}
    for path in FILES:
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        if not path.name.endswith("older_python.py") and (uses := newer(tree)):
            found[str(path.relative_to(REPO))] = uses
    assert found == {}


@pytest.mark.parametrize(
    "text, found",
    [
        ("import tomllib", "1: tomllib"),
        ("from itertools import pairwise", "1: pairwise"),
        ("datetime.UTC", "1: UTC"),
        ("dict(zip(a, b, strict=True))", "1: zip(strict=)"),
        ("isinstance(x, int | float)", "1: X | Y"),
        ("@dataclass(frozen=True, slots=True)\nclass A: pass", "1: slots"),
        ("subprocess.run(command, process_group=0)", "1: process_group"),
    ],
)
def test_what_is_newer_is_found(text, found):
    assert newer(ast.parse(text)) == [found]


@pytest.mark.parametrize("python", OLDER)
def test_an_older_python_compiles_every_file(python, tmp_path):
    code = ("import sys\nfor path in sys.stdin.read().split('\\0'):\n"
            "    compile(open(path, encoding='utf-8').read(), path, 'exec', dont_inherit=True)\n")  # fmt: skip
    command = [interpreter(python), "-c", code]
    done = subprocess.run(command, input="\0".join(map(str, FILES)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("python", OLDER)
def test_an_older_python_imports_what_needs_no_package(python):
    command = [interpreter(python), "-S", "-c", "\n".join(f"import qat8.{name}" for name in PLAIN)]
    env = {"PYTHONPATH": str(REPO / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_the_project_promises_is_the_same_everywhere():
    pyproject = older_python.tomllib.loads((REPO / "pyproject.toml").read_text())
    assert pyproject["project"]["requires-python"] == f">={locks.PYTHONS[0]},<3.12" and locks.PYTHONS[-1] == "3.11"
    assert pyproject["tool"]["ruff"]["target-version"] == f"py{locks.PYTHONS[0].replace('.', '')}"
    (taken,) = re.findall(r"^ *(3\.\d+(?: \| 3\.\d+)+)\) python=", (REPO / "src/setup.sh").read_text(), re.M)
    assert tuple(taken.split(" | ")) == locks.PYTHONS


# The stand-ins: those for 3.9 are tried whatever this Python is, and held against its own where it has them.


@pytest.fixture(scope="module")
def oldest():
    """older_python.py as 3.9 runs it."""
    source = (REPO / "src/qat8/older_python.py").read_text()
    assert source.count("sys.version_info >=") == 2
    module = type(older_python)("oldest")
    exec(source.replace("sys.version_info >=", "(3, 9) >="), vars(module))
    return module


@pytest.mark.parametrize("of", [older_python, "oldest"], ids=["ours", "3.9"])
def test_zip_strict_gives_pairs_and_refuses_other_lengths(of, oldest):
    module = oldest if of == "oldest" else of
    assert list(module.zip_strict([1, 2], "ab")) == [(1, "a"), (2, "b")]
    assert list(module.zip_strict(iter([1, 2]), "ab", [3, 4])) == [(1, "a", 3), (2, "b", 4)]
    assert list(module.zip_strict()) == [] and list(module.zip_strict([None], iter([None]))) == [(None, None)]
    for left, right in (([1], [1, 2]), ([1, 2], [1]), (iter([1]), [1, 2]), ([], iter([0])), (iter([0, 0]), iter([0]))):
        with pytest.raises(ValueError):
            list(module.zip_strict(left, right))


def test_pairwise_and_file_digest_are_those_of_the_newer_python(oldest):
    for items in ("", "a", "ab", "abcd"):
        assert list(oldest.pairwise(items)) == list(older_python.pairwise(items)) == list(zip(items, items[1:]))
    for size in (0, 1, oldest._PIECE, 2 * oldest._PIECE + 7):
        content = bytes(range(256)) * (size // 256 + 1)
        expected = hashlib.sha256(content[:size]).hexdigest()
        assert oldest.file_digest(io.BytesIO(content[:size]), "sha256").hexdigest() == expected
        assert older_python.file_digest(io.BytesIO(content[:size]), "sha256").hexdigest() == expected


def test_what_an_older_python_cannot_have_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(older_python, "VERSION", (3, 9))
    older_python.require("a thing", (3, 9), "it is made so")
    with pytest.raises(
        MachineError, match=r"a thing with Python 3\.\d+; expected 3\.99 or newer: it is made so; next: PYTHON=\S+"
    ):
        older_python.require("a thing", (3, 99), "it is made so")
