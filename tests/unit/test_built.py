"""Testers of other sources than there are now are not measured."""

import shutil
import subprocess
from pathlib import Path

import pytest

from qat8 import artifacts
from qat8.benchmarking import built
from qat8.errors import MachineError

CMAKE = artifacts.REPOSITORY / "tester/cmake/sources.cmake"
NO_BUILD = shutil.ignore_patterns("build*")


@pytest.fixture
def tester(tmp_path) -> Path:
    """A checkout's tester/, with a program whose build has just ended."""
    for name in ("CMakeLists.txt", "flags.cc", "engine/isa.h", "build/sample_tester", "a b.h", "Z.cc", "a.py"):
        file = tmp_path / "tester" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"of {name}\n")
    stamp(tmp_path / "tester")
    return tmp_path / "tester"


def stamp(directory: Path) -> None:
    flags = [f"-DSOURCE={directory}", f"-DOUTPUT={directory / 'build' / built.STAMP}"]
    subprocess.run(["cmake", *flags, "-P", str(CMAKE)], check=True)


def program(directory: Path) -> Path:
    return directory / "build/sample_tester"


def test_cmake_and_python_compute_the_same_number_of_the_real_sources(tmp_path):
    copy = shutil.copytree(
        artifacts.REPOSITORY / "tester", tmp_path / "tester", ignore=shutil.ignore_patterns("build*")
    )
    (copy / "build").mkdir()
    stamp(copy)
    assert (copy / "build" / built.STAMP).read_text() == built.digest(copy) + "\n"
    assert len(list(copy.glob("*.cc"))) > 10


def test_a_tester_of_these_sources_is_taken_and_python_files_do_not_count(tester):
    (tester / "a.py").write_text("changed\n")
    built.require(program(tester), tester)


@pytest.mark.parametrize("what", ["changed", "added", "removed", "renamed", "built before there was a stamp"])
def test_a_tester_of_other_sources_is_refused_with_the_command_that_builds_it(tester, what):
    source = tester / "flags.cc"
    if what == "changed":
        source.write_text("other\n")
    elif what == "added":
        (tester / "engine/new.cc").write_text("")
    elif what == "removed":
        source.unlink()
    elif what == "renamed":
        source.rename(tester / "flag.cc")
    else:
        (tester / "build" / built.STAMP).unlink()
    with pytest.raises(MachineError, match=r"sample_tester was built from other sources .* next: inv build.tester"):
        built.require(program(tester), tester)


def test_a_tester_that_is_not_there_is_not_built(tester):
    program(tester).unlink()
    with pytest.raises(MachineError, match="sample_tester is not built; next: inv build"):
        built.require(program(tester), tester)


def test_an_image_has_no_sources_and_its_testers_were_built_with_it(tester):
    for name in ("CMakeLists.txt", "flags.cc", f"build/{built.STAMP}"):
        (tester / name).unlink()
    built.require(program(tester), tester)
