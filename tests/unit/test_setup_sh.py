"""src/setup.sh in a copy of the tree, with a PATH of stand-ins: what is missing, and when there is nothing to do."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
SYSTEM = ("flock", "bash", "dirname", "cat", "sha256sum", "df", "tail", "rm", "mkdir", "chmod", "env")
TOOLS = ("g++", "cmake", "make", "git", "taskset")
# Answers to what setup.sh asks of an interpreter. `-m venv` makes one whose pip notes what it is asked for.
PYTHON = """#!/bin/bash
case "$*" in
  *version_info*) echo {version} ;;
  *ensurepip*) exit {venv} ;;
  "-m venv .venv")
    mkdir -p .venv/bin
    printf '#!/bin/bash\\necho "$*" >>pip.log\\nexit {pip}\\n' >.venv/bin/python
    printf '#!/bin/bash\\n' >.venv/bin/inv
    chmod +x .venv/bin/python .venv/bin/inv ;;
  -) cat >/dev/null; exit {shared} ;;
  --version) echo Python {version}.9 ;;
esac
"""


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "tree"
    (tree / "src").mkdir(parents=True)
    for name in ("src/setup.sh", "requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        shutil.copy(REPO / name, tree / name)
    return tree


@pytest.fixture
def program(tmp_path):
    """`program(name, text)` writes a program of that directory; `program(name, version=...)` an interpreter."""
    (tmp_path / "bin").mkdir()

    def make(name: str, text: str = PYTHON, **answers) -> None:
        for key, value in ({"version": "3.11", "venv": 0, "shared": 0, "pip": 0} | answers).items():
            text = text.replace("{" + key + "}", str(value))
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    return make


@pytest.fixture
def path(tmp_path, program):
    """`path(without=..., python=...)` fills the directory that alone is on the PATH."""
    directory = tmp_path / "bin"

    def make(without=(), python: str | None = "python3.11", machine="Linux x86_64", free="99999", **answers):
        for name in SYSTEM:
            (directory / name).symlink_to(shutil.which(name))
        for name in set(TOOLS) - set(without):
            program(name, "#!/bin/bash\n")
        program("uname", f"#!/bin/bash\necho {machine}\n")
        if free != "99999":
            (directory / "df").unlink()
            program("df", f"#!/bin/bash\necho Avail\necho {free}\n")
        if python:
            program(python, **answers)
        return directory

    return make


@pytest.fixture
def setup(tree, tmp_path):
    def run(**variables) -> subprocess.CompletedProcess:
        env = {"PATH": str(tmp_path / "bin"), **variables}
        return subprocess.run([tree / "src/setup.sh"], env=env, capture_output=True, text=True, cwd=tmp_path)

    return run


def stopped(done, tree, *words: str) -> None:
    assert done.returncode == 5, done
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    assert not (tree / ".venv").exists()


@pytest.mark.parametrize(
    ("without", "packages"),
    [
        (["g++"], "g++"),
        (["cmake"], "cmake"),
        (["make", "git"], "make git"),
        (["taskset"], "util-linux"),
        (["g++", "cmake", "make"], "g++ cmake make"),
    ],
)
def test_missing_tools_are_all_named_with_the_line_that_brings_them(path, setup, tree, without, packages):
    path(without=without)
    stopped(setup(), tree, f"missing: {packages}; next: apt-get install -y {packages}\n")


def test_without_python_its_packages_are_named(path, setup, tree):
    path(python=None)
    stopped(setup(), tree, "apt-get install -y python3 python3-venv libpython3.11")


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.8", "2.7"])
def test_another_version_of_python_is_not_taken(path, setup, tree, version):
    path(python="python3", version=version)
    stopped(setup(), tree, f"python3 is Python {version}", "expected Python 3.9, 3.10 or 3.11",
            "PYTHON=/path/to/python3.11 make setup")  # fmt: skip


def test_a_python_that_was_named_is_the_one_that_is_spoken_of(path, setup, tree):
    path(python="python3.8", version="3.8")
    stopped(setup(PYTHON="python3.8"), tree, "error: python3.8 is Python 3.8", "3.9, 3.10 or 3.11", "3.12")
    stopped(setup(PYTHON="/no/python"), tree, "PYTHON=/no/python is no program", "PYTHON=/path/to/python3.11")
    stopped(setup(PYTHON="cmake"), tree, "error: cmake is ", "3.9, 3.10 or 3.11")


@pytest.mark.parametrize(
    ("python", "version"), [("python3", "3.11"), ("python3", "3.10"), ("python3", "3.9"), ("python3.9", "3.9")]
)
def test_each_python_that_it_works_with_is_taken(path, setup, tree, python, version):
    path(python=python, version=version)
    done = setup()
    assert done.returncode == 0, done
    assert f"Python {version}.9" in done.stdout


def test_of_several_pythons_3_11_is_taken_and_one_that_is_too_new_is_passed_over(path, setup, program):
    path(python="python3", version="3.12")
    program("python3.9", version="3.9")
    assert "Python 3.9.9" in setup().stdout
    program("python3.10", version="3.10")
    program("python3.11", version="3.11")
    assert "Python 3.11.9" in setup(PYTHON="python3.11").stdout


def test_another_python_makes_the_environment_anew_but_only_if_it_is_named(path, setup, tree, program):
    path()
    program("python3.9", version="3.9")
    assert "Python 3.9.9" in setup(PYTHON="python3.9").stdout
    assert [setup(**named).stdout for named in ({}, {"PYTHON": "python3.9"})] == ["", ""]
    assert "Python 3.11.9" in setup(PYTHON="python3.11").stdout
    assert setup().stdout == ""
    done = setup(PYTHON="/no/python")
    assert done.returncode == 5 and "is no program" in done.stderr and (tree / ".venv/bin/inv").exists()


def test_a_python_named_by_the_user_is_taken(path, setup):
    path(python="mypython")
    assert setup().returncode == 5
    assert setup(PYTHON="mypython").returncode == 0


def test_a_python_without_venv_or_shared_library_names_their_packages(path, setup, tree):
    path(venv=1, shared=1)
    stopped(setup(), tree, "missing: python3.11-venv libpython3.11; next: apt-get install -y python3.11-venv libpython")


def test_the_packages_of_another_python_are_named_by_its_version(path, setup, tree):
    path(python="python3", version="3.9", venv=1, shared=1)
    stopped(setup(), tree, "missing: python3.9-venv libpython3.9; next: apt-get install -y python3.9-venv libpython3.9")


@pytest.mark.parametrize("machine", ["Linux aarch64", "Darwin arm64", "Darwin x86_64"])
def test_another_machine_is_refused_before_anything_else(path, setup, tree, machine):
    path(without=TOOLS, machine=machine)
    stopped(setup(), tree, machine, "Linux x86_64")


def test_a_full_disk_is_found_before_it_is_filled(path, setup, tree):
    path(free="1200")
    stopped(setup(), tree, "1200 MB free", "expected 3000")


def stamp(tree) -> str:
    names = ("requirements.txt", "requirements-dev.txt", "src/setup.sh")
    return hashlib.sha256(b"".join((tree / name).read_bytes() for name in names)).hexdigest()


def test_the_environment_is_made_from_the_locked_requirements_with_their_hashes(path, setup, tree):
    path()
    done = setup()
    assert done.returncode == 0, done
    locked, ours = (tree / "pip.log").read_text().splitlines()
    assert "--require-hashes -r requirements.txt -r requirements-dev.txt" in locked and "--no-deps" in locked
    assert ours.endswith("--editable .") and "--no-deps" in ours
    assert (tree / ".venv/.requirements.sha256").read_text().split()[0] == stamp(tree)


def test_a_second_time_it_returns_at_once_even_if_tools_have_gone(path, setup, tree, tmp_path):
    path()
    setup()
    (tree / "pip.log").unlink()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).unlink()
    done = setup()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tree / "pip.log").exists()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "src/setup.sh"])
def test_changed_requirements_make_it_anew(path, setup, tree, name):
    path()
    setup()
    with open(tree / name, "a") as f:
        f.write("# changed\n")
    assert "setting up .venv" in setup().stdout
    assert len((tree / "pip.log").read_text().splitlines()) == 4


@pytest.mark.parametrize("broken", [".venv/bin/inv", ".venv/.requirements.sha256"])
def test_an_environment_that_is_not_whole_is_made_anew(path, setup, tree, broken):
    path()
    setup()
    (tree / broken).unlink()
    assert setup().returncode == 0 and (tree / broken).exists()


def test_a_failed_installation_is_no_environment_and_the_next_run_starts_over(path, setup, tree, tmp_path):
    path(pip=1)
    assert setup().returncode != 0
    assert not (tree / ".venv/.requirements.sha256").exists()
    python = tmp_path / "bin/python3.11"
    python.write_text(python.read_text().replace("exit 1\\n", "exit 0\\n"))
    assert setup().returncode == 0 and (tree / ".venv/.requirements.sha256").exists()
