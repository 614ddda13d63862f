"""Started programs: pinned, their failures told by class."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from qat8 import errors, processes
from qat8.errors import MachineError, StageError, UsageError
from qat8.processes import capture, failure, parse_cpus, pinned


@pytest.fixture
def cpus(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3, 8})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", [0]),
        ("0-3", [0, 1, 2, 3]),
        ("0-2,8", [0, 1, 2, 8]),
        ("8,0", [0, 8]),
        ("1,1,0-1", [0, 1]),
        (" 1, 2 ", [1, 2]),
    ],
)
def test_a_list_of_cpus_is_read_as_taskset_writes_it(cpus, text, expected):
    assert parse_cpus(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "a", "0-", "-1", "1-x", "0;1", "3-1", "0,3-1", "4", "0,20", "0-8", "9" * 20, "0-" + "9" * 20],
)
def test_what_is_no_list_of_allowed_cpus_is_refused(cpus, text):
    with pytest.raises(UsageError, match="--cpus") as failure:
        parse_cpus(text)
    assert text in str(failure.value)


def test_a_cpu_that_is_not_allowed_is_refused_with_those_that_are(cpus):
    with pytest.raises(UsageError, match="some of 0,1,2,3,8, which this process may use"):
        parse_cpus("0,5")


def test_the_pinned_command_is_what_a_user_would_type():
    assert pinned([0, 2], ["tester", "--flag=1"]) == ["taskset", "--cpu-list", "0,2", "tester", "--flag=1"]


def test_a_pinned_process_runs_on_just_these_cpus():
    cpu = min(os.sched_getaffinity(0))
    code = "import os; print(sorted(os.sched_getaffinity(0)))"
    assert capture(pinned([cpu], [sys.executable, "-c", code])).strip() == f"[{cpu}]"


def test_threads_are_bound_as_in_the_tutorial():
    assert processes.openmp(4) == {
        "OMP_NUM_THREADS": "4", "KMP_AFFINITY": "granularity=fine,compact,1,0", "KMP_BLOCKTIME": "1",
    }  # fmt: skip


def test_the_environment_is_added_to_ours_and_stdin_is_empty():
    code = "import os, sys; print(os.environ['EXTRA'], bool(os.environ['PATH']), sys.stdin.read() == '')"
    assert capture([sys.executable, "-c", code], {"EXTRA": "1"}).split() == ["1", "True", "True"]


CAUSES = [errors.UsageError, errors.DataError, errors.ModelError, errors.MachineError, errors.StageError,
          errors.VerificationError, errors.BusyError]  # fmt: skip


@pytest.mark.parametrize("kind", CAUSES)
def test_the_exit_code_tells_the_cause_and_the_error_line_is_passed_on(kind):
    code = f"import sys; sys.stderr.write('error: the fact\\nnoise\\n'); sys.exit({kind.exit_code})"
    with pytest.raises(kind) as failed:
        capture([sys.executable, "-c", code])
    assert type(failed.value) is kind
    assert str(failed.value) == f"{sys.executable}: the fact (exit code {kind.exit_code})"


def test_a_tester_that_was_built_in_an_environment_that_is_gone_is_to_be_built_again(tmp_path):
    """The loader's own words, from a program whose library is not there any more."""
    (tmp_path / "lib.c").write_text("int f(void) { return 0; }")
    (tmp_path / "main.c").write_text("int f(void); int main(void) { return f(); }")
    for command in (["-shared", "-o", "libgone.so", "lib.c"], ["-o", "tester", "main.c", "-L.", "-lgone"]):
        subprocess.run(["g++", *command], cwd=tmp_path, check=True)
    with pytest.raises(MachineError, match=r"libgone\.so: cannot open.*; next: inv build\.tester"):
        capture(["taskset", "--cpu-list", "0", str(tmp_path / "tester")])


@pytest.mark.parametrize("code", [1, 9, 77, 255])
def test_any_other_exit_code_is_a_failed_stage_and_not_one_of_the_causes(code):
    found = failure(["tester"], code, "Traceback\nValueError: what\n")
    assert type(found) is StageError and str(found) == f"tester: ValueError: what (exit code {code})"


def test_a_crash_is_told_by_its_signal_also_when_nothing_was_said():
    with pytest.raises(StageError, match=r"no message \(ended by signal 9\)"):
        capture([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])


@pytest.mark.parametrize("code", [130, -signal.SIGINT])
def test_an_interrupted_program_interrupts_us(code):
    with pytest.raises(KeyboardInterrupt):
        failure(["tester"], code, "")


def test_a_program_that_is_not_installed_is_the_machines_fault():
    with pytest.raises(MachineError, match="no-such-program is not installed"):
        capture(["no-such-program"])


def test_a_program_that_hangs_is_ended():
    with pytest.raises(StageError, match="did not end within 0 s"):
        capture([sys.executable, "-c", "import time; time.sleep(30)"], timeout=0.2)


def test_output_that_is_not_utf8_does_not_matter():
    assert capture([sys.executable, "-c", "import sys; sys.stdout.buffer.write(b'a\\xff')"]) == "a\ufffd"


# A parent that is killed.

STARTS = {
    "a tester": "processes.capture(['sleep', '61'])",
    "an instance": "instances._Child(['sleep', '61'], {}).require_ready()",
    "a rank of a training": "with launch._started([], launch.Layout(1), 1, Path(sys.argv[1])): time.sleep(60)",
    "a stage": "sys.executable = sys.argv[1] + '/python'; local.run('train', [])",
}
STAGE = f"""#!{sys.executable}
import os
from qat8 import signals
signals.leave_at_once()  # as every stage does first
os.execvp("sleep", ["sleep", "61"])
"""
PARENT = """
import sys, time
from pathlib import Path
from qat8 import processes
from qat8.benchmarking import instances
from qat8.runtimes import local
from qat8.training import launch
launch._command = lambda argv: ["sleep", "61"]
"""


@pytest.mark.parametrize("what", STARTS)
def test_what_a_killed_parent_had_started_ends_with_it(tmp_path, what):
    (tmp_path / "python").write_text(STAGE)
    (tmp_path / "python").chmod(0o755)
    parent = subprocess.Popen([sys.executable, "-c", PARENT + STARTS[what], str(tmp_path)])
    try:
        deadline = time.monotonic() + 30
        while not (children := sleeping(parent.pid)) and time.monotonic() < deadline and parent.poll() is None:
            time.sleep(0.02)
        assert len(children) == 1
        parent.kill()
        assert psutil.wait_procs(children, timeout=10)[1] == []
    finally:
        parent.kill()
        parent.wait()


def sleeping(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if child.name() == "sleep"]
