"""What libFuzzer once found worth keeping runs through the C++ readers, with AddressSanitizer and without clang."""

import json
import subprocess
import sys

import hostile
import pytest

from qat8 import instructions
from qat8.errors import MachineError

BUILD = hostile.REPO / "build" / "fuzz-corpus"


@pytest.fixture(scope="session")
def targets():
    return hostile.configure(BUILD, "-DCMAKE_CXX_COMPILER=g++")


def test_there_is_a_corpus_for_every_target(targets):
    assert targets == ["data_file", "flags", "network", "plan_file", "program", "text"]
    assert sorted(file.stem for file in hostile.CORPUS.iterdir()) == targets
    assert sum(file.stat().st_size for file in hostile.CORPUS.iterdir()) < 1 << 20


@pytest.mark.parametrize("target", ["data_file", "flags", "network", "plan_file", "program", "text"])
def test_no_kept_input_makes_a_reader_touch_what_it_must_not(targets, tmp_path, target):
    place = hostile.unpacked(target, tmp_path)
    done = subprocess.run([BUILD / f"fuzz_{target}", place], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) == len(list(place.iterdir())) > 20


@pytest.mark.skipif(not instructions.has_vnni(), reason="this CPU has no AVX-512 VNNI: the kernel does not run")
@pytest.mark.parametrize("shape", ["32 64 1 1 1 1 1 1 1", "64 128 7 14 1 1 1 1 2", "32 64 9 8 0 0 2 0 3"])
def test_no_shape_makes_the_winograd_kernel_touch_what_it_must_not(targets, shape):
    done = subprocess.run([BUILD / "check_winograd", *shape.split(), "1", "extreme"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[1] == "0"


def test_without_clang_make_fuzz_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="no clang") as failure:
        hostile.main(["--only=flags"])
    assert "apt-get install clang-14" in str(failure.value)


def test_make_fuzz_writes_its_figures_and_refuses_what_it_does_not_know(tmp_path):
    def fuzz(*more: str) -> subprocess.CompletedProcess:
        command = [
            sys.executable,
            hostile.HERE / "hostile.py",
            "--executions=0",
            f"--json={tmp_path / 'r.json'}",
            *more,
        ]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)

    done = fuzz("--only=states", "--share=0.02")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["cases"] == 30 and [row["kind"] for row in record["files"]] == ["manifests", "checkpoints"]
    assert "checkpoints" in done.stdout and "0 executions, 30 files" in done.stdout
    assert fuzz("--only=nothing").returncode == 2
