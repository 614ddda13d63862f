"""Every exit code of the README's table, provoked for real: through `inv`, and in the C++ tester where it occurs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

REPO = Path(__file__).resolve().parents[2]
GOLDEN = REPO / "tests/golden/results-1.1.json"
# Python reads it before anything else: the only way to a bug or a death that nobody has made yet.
FAULTS = """
import os, pathlib
command = pathlib.Path("/proc/self/cmdline").read_text().split("\\0")  # sys.argv is not made yet
if "qat8.stages.compare" in command:
    from qat8 import results
    results.load = lambda path: {}["a bug"]
if "qat8.stages.schema" in command:
    os.kill(os.getpid(), 11)
"""


def shells(code: int) -> int:
    """The exit code that a shell shows for a process that a signal ended."""
    return code if code >= 0 else 128 - code


@pytest.fixture
def inv(tmp_path):
    """`inv("convert", "--flag", PATH="...")`: what a user's shell sees."""

    def run(*argv: object, **environment: str) -> subprocess.CompletedProcess:
        env = {**os.environ, "QAT8_DATA": str(tmp_path / "data"), **environment}
        command = [sys.executable, "-m", "invoke", *map(str, argv)]
        return subprocess.run(command, cwd=REPO, env=env, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture
def faults(tmp_path) -> str:
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults/sitecustomize.py").write_text(FAULTS)
    return str(tmp_path / "faults")


def slower(path: Path) -> Path:
    """Results in which INT8 has become three times slower."""
    content = json.loads(GOLDEN.read_text())
    for run in (run for run in content["runs"] if run["precision"] == "int8"):
        run["repetitions"] = [value / 3 + 0.001 * i for i, value in enumerate(run["repetitions"] * 3)]
    for run in (run for run in content["runs"] if run["precision"] == "fp32"):
        run["repetitions"] = run["repetitions"] * 3
    path.write_text(json.dumps(content))
    return path


def faster(path: Path) -> Path:
    content = json.loads(GOLDEN.read_text())
    for run in content["runs"]:
        run["repetitions"] = [value + 0.001 * i for i, value in enumerate(run["repetitions"] * 3)]
    path.write_text(json.dumps(content))
    return path


def provoke(code: int, inv, faults: str, tmp_path: Path) -> subprocess.CompletedProcess:
    """The `inv` command that ends with this code."""
    if code == 0:
        return inv("schema", f"--output={tmp_path / 'schema.json'}")
    if code == 1:
        return inv("compare", GOLDEN, GOLDEN, PYTHONPATH=faults)
    if code == 2:
        return inv("convert", "--model=NoSuchNet")
    if code == 3:
        return inv("compare", tmp_path / "missing.json", GOLDEN)
    if code == 4:
        return inv("convert", f"--qat-model-path={tmp_path / 'missing'}")
    if code == 5:
        (tmp_path / "empty").mkdir()
        return inv("build.tester", PATH=str(tmp_path / "empty"))
    if code == 6:
        return inv("schema", PYTHONPATH=faults)
    if code == 7:
        return inv("compare", faster(tmp_path / "a.json"), slower(tmp_path / "b.json"), "--force")
    assert code == 8
    with filelock.FileLock(tmp_path / ".history.lock"):
        return inv("history", GOLDEN.parent, f"--output-dir={tmp_path / 'history'}", "--all")


@pytest.mark.parametrize("code", range(9))
def test_inv_ends_with_the_code_of_the_cause_and_one_line(inv, faults, tmp_path, code):
    done = provoke(code, inv, faults, tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.strip()]
    assert "Traceback" not in done.stdout + done.stderr
    assert len(errors) == (code != 0), done.stderr
    assert all(line.startswith("error: ") for line in errors)


def cpp(code: int, tester: list[str], models: Path, data: Path, preload) -> subprocess.CompletedProcess:
    """The same cause in the C++ tester. It starts no program and makes no artifact: there is no 6 and no 8."""
    model, environment, out = models / "plain", {}, subprocess.PIPE
    flags = {"infer_model": model, "infer_data": data}
    if code == 1:
        fault = 'throw std::runtime_error("a bug");'
        environment = preload(
            f"#include <stdexcept>\nnamespace paddle_infer {{ std::string GetVersion() {{ {fault} }} }}"
        )
    flags |= {2: {"batch_size": 0}, 3: {"infer_data": "missing"}, 4: {"infer_model": "missing"},
              7: {"infer_model": models / "not_finite"}}.get(code, {})  # fmt: skip
    if code == 5:
        out = open("/dev/full", "w")  # noqa: SIM115
    command = [*tester, *(f"--{name}={value}" for name, value in flags.items())]
    return subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 7])
def test_the_cpp_tester_ends_with_the_same_code_for_the_same_cause(commands, models, data, preload, code):
    done = cpp(code, commands["cpp"], models, data["uint8"], preload)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == (code != 0) and done.stderr.startswith("error: " * (code != 0))


SIGNALS = {129: signal.SIGHUP, 130: signal.SIGINT, 143: signal.SIGTERM}


def end(process: subprocess.Popen, number: int) -> int:
    try:
        os.killpg(process.pid, number)
        return shells(process.wait(timeout=60))
    finally:
        process.kill()


@pytest.mark.parametrize("code", SIGNALS)
def test_a_signal_ends_inv_with_the_shells_code(tmp_path, code):
    os.mkfifo(tmp_path / "fifo")  # nobody writes to it: the stage waits
    command = [sys.executable, "-m", "invoke", "compare", tmp_path / "fifo", GOLDEN]
    process = subprocess.Popen(list(map(str, command)), cwd=REPO, start_new_session=True, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    assert "== compare" in process.stdout.readline()
    deadline = time.monotonic() + 60
    while not _reading(process.pid):
        assert time.monotonic() < deadline, "it never began to read"
        time.sleep(0.05)
    assert end(process, SIGNALS[code]) == code


def _reading(parent: int) -> bool:
    """Whether a child of this process is inside openat(2), in which a FIFO without a writer makes it wait."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return any(Path(f"/proc/{pid}/syscall").read_text().startswith("257 ") for pid in children)


@pytest.mark.parametrize("code", SIGNALS)
def test_a_signal_ends_the_cpp_tester_with_the_shells_code(commands, models, data, code):
    flags = [f"--infer_model={models / 'plain'}", f"--infer_data={data['uint8']}", "--min_seconds=100"]
    process = subprocess.Popen([*commands["cpp"], *flags], start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while "SigCgt" not in _caught(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert end(process, SIGNALS[code]) == code


def _caught(pid: int) -> str:
    """The line of /proc that says that SIGTERM is handled; "" before the program has come so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
    return "SigCgt" if mask >> (signal.SIGTERM - 1) & 1 else ""


def test_this_walks_the_whole_table():
    text = (REPO / "README.md").read_text()
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert listed == {*range(9), *SIGNALS}
