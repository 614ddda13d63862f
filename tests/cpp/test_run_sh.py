"""run.sh, as the tutorial starts it."""

import os
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[2] / "tester/run.sh"


@pytest.fixture
def recorded(tmp_path):
    """Runs run.sh with a program in the tester's place that prints its arguments and environment."""
    program = tmp_path / "tester"
    program.write_text('#!/bin/sh\nfor a in "$@"; do echo "$a"; done\nenv | grep -E "^(KMP|OMP)_"\n')
    program.chmod(0o755)

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
        env = {**os.environ, "TESTER": str(program), **variables}
        return subprocess.run([str(RUN), *arguments], env=env, capture_output=True, text=True, cwd=tmp_path)

    return run


@pytest.mark.parametrize(
    ("arguments", "iterations", "threads"), [((), "0", "1"), (("-1", "20"), "-1", "20"), (("7",), "7", "1")]
)
def test_iterations_and_threads_reach_the_tester_and_threads_are_bound(recorded, arguments, iterations, threads):
    lines = recorded(*arguments).stdout.splitlines()
    assert {f"--iterations={iterations}", f"--num_threads={threads}", f"OMP_NUM_THREADS={threads}"} <= set(lines)
    assert {"KMP_AFFINITY=granularity=fine,compact,1,0", "KMP_BLOCKTIME=1"} <= set(lines)


def test_model_and_data_have_defaults_below_data_and_can_be_set(recorded):
    default = recorded().stdout
    assert "data/models/MobileNetV1/int8\n" in default and "data/dataset/embedded/val.bin\n" in default
    chosen = recorded(MODEL_DIR="my model", DATA_FILE="my.bin").stdout.splitlines()
    assert {"--infer_model=my model", "--infer_data=my.bin"} <= set(chosen)


@pytest.mark.parametrize("arguments", [("x",), ("-2",), ("",), ("1", "0"), ("1", "-1"), ("1", "two"), ("1", "2", "3")])
def test_bad_arguments_are_one_line_and_exit_code_2(recorded, arguments):
    done = recorded(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_missing_tester_is_refused_by_saying_how_to_build_it(recorded, tmp_path):
    done = recorded(TESTER=str(tmp_path / "none"))
    assert done.returncode == 5 and "inv build.tester" in done.stderr and done.stderr.count("\n") == 1


def test_run_sh_measures_a_real_model(build, models, data):
    env = {**os.environ, "MODEL_DIR": str(models / "plain"), "DATA_FILE": str(data["uint8"]), "BATCH_SIZE": "10"}
    done = subprocess.run([str(RUN), "-1", "2"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "====== num of threads: 2 ======" in done.stdout and "images: 37" in done.stdout
