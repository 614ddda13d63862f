"""From a task's arguments to a stage's process."""

import os
import signal
import subprocess
import sys

import pytest
from invoke.exceptions import Exit

from qat8 import runner
from qat8.artifacts import REPOSITORY
from qat8.runtimes import local


def test_values_become_flags_and_what_was_not_given_is_left_to_the_stage():
    argv = runner.flags(model="X", data_dir="", local=True, quick=False, size=None, dim=224, rate="1e-5")
    assert argv == ["--model=X", "--local", "--dim=224", "--rate=1e-5"]


def test_a_list_repeats_its_flag():
    assert runner.flags(set=["a=1", "b=2"], other=[]) == ["--set=a=1", "--set=b=2"]


def test_a_path_with_spaces_stays_one_argument():
    assert runner.flags(data_dir="my data") == ["--data-dir=my data"]


def test_a_stages_exit_code_is_the_tasks(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(local, "run", lambda stage, argv: calls.append((stage, argv)) or 3)
    with pytest.raises(Exit) as end:
        runner.run("preprocess", ["--x"])
    assert end.value.code == 3 and calls == [("preprocess", ["--x"])]
    assert "== preprocess" in capsys.readouterr().out


def test_a_stage_that_ends_well_is_announced_with_its_time(monkeypatch, capsys):
    monkeypatch.setattr(local, "run", lambda stage, argv: 0)
    runner.run("build_tester", [])
    first, last = capsys.readouterr().out.splitlines()
    assert first == "== build tester" and last.startswith("== build tester: ") and last.endswith(" s")


def test_an_unknown_runtime_is_refused_with_the_known_ones():
    with pytest.raises(Exit) as end:
        runner.run("train", [], "cloud")
    assert end.value.code == 2 and "'cloud'" in end.value.message and "local" in end.value.message


def test_the_local_runtime_gives_the_stages_own_exit_code(capfd):
    assert local.run("preprocess", ["--data-dim=0"]) == 2
    assert capfd.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("to_group", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_stage_may_say_where_it_stopped_before_the_task_ends(tmp_path, number, to_group):
    """Ctrl-C reaches task and stage, `kill` the task alone; it waits for the stage and takes its exit code."""
    package = tmp_path / "qat8/stages"
    package.mkdir(parents=True)
    (package / "slow.py").write_text(
        "import time\nfrom qat8 import cli\n\ndef main(argv):\n    try:\n        print('up', flush=True)\n"
        "        time.sleep(60)\n    finally:\n        time.sleep(0.5)\n        print('last words', flush=True)\n\n"
        "cli.run(main)\n"
    )
    code = (
        f"import sys; import qat8.stages; qat8.stages.__path__.insert(0, {str(package)!r});"
        "from qat8.runtimes import local; sys.exit(local.run('slow', []))"
    )
    # `-m qat8.stages.slow` must be found in the child too.
    (tmp_path / "sitecustomize.py").write_text(
        f"import qat8.stages\nqat8.stages.__path__.insert(0, {str(package)!r})\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    task = subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert task.stdout.readline() == "up\n"
    os.killpg(task.pid, number) if to_group else task.send_signal(number)
    rest, _ = task.communicate(timeout=20)
    assert (rest, task.returncode) == ("last words\n", 128 + number)


@pytest.mark.parametrize("child", ["signal.pause()", "signal.signal(2, lambda *_: exit(0)); signal.pause()"])
def test_a_stage_that_could_not_say_why_it_ended_has_it_said_for_it(child, monkeypatch, capfd, tmp_path):
    """Ended before it had a handler (`-m` finds no stage here), or about to end by itself when the signal came."""
    begin = (
        "import os, signal\nsignal.pthread_sigmask(1, {2})\nsignal.signal(2, signal.SIG_DFL)\nos.kill(os.getppid(), 2)"
    )
    (tmp_path / "python").write_text(f"#!{sys.executable}\n{begin}\n{child}\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert local.run("train", []) == 130
    assert capfd.readouterr().err == "error: interrupted; run the same command again to go on\n"


@pytest.mark.parametrize(
    ("code", "name"), [(-11, "SIGSEGV"), (-6, "SIGABRT"), (-9, "SIGKILL"), (139, "SIGSEGV"), (137, "SIGKILL")]
)
def test_a_stage_that_a_signal_ended_is_one_line_and_exit_code_6(monkeypatch, code, name):
    monkeypatch.setattr(local, "run", lambda stage, argv: code)
    with pytest.raises(Exit) as end:
        runner.run("convert", [])
    assert end.value.code == 6 and end.value.message.startswith(f"error: convert was ended by {name}")


@pytest.mark.parametrize(("code", "expected"), [(-15, 143), (143, 143), (-2, 130), (130, 130), (-1, 129), (129, 129)])
def test_a_stage_that_was_asked_to_end_ends_with_the_shells_code_and_no_further_word(monkeypatch, code, expected):
    monkeypatch.setattr(local, "run", lambda stage, argv: code)
    with pytest.raises(Exit) as end:
        runner.run("convert", [])
    assert (end.value.code, end.value.message) == (expected, None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_inv_between_its_stages_is_ended_by_one_line_and_in_its_last_moments_by_nothing(number):
    begin = "import atexit, os, sys, time; sys.argv[0] = '/bin/inv'; "
    ends = f"os.kill(os.getpid(), {number}); time.sleep(0.2)"
    late = f"atexit.register(lambda: os.kill(os.getpid(), {number})); import tasks"  # the last to register is the first
    for code, expected in ((f"import tasks; {ends}", 128 + number), (late, 0)):
        done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, cwd=REPOSITORY)
        assert done.returncode == expected, done.stderr
        assert done.stderr.count("error: ") == done.stderr.count("\n") == (1 if expected else 0)


def test_a_signal_that_comes_while_the_stage_is_started_is_said_once_by_the_stage(monkeypatch, capfd):
    real = subprocess.Popen

    def started(command, **kwargs):
        child = real(
            [sys.executable, "-c", "import qat8.signals as s, time; s.leave_at_once(); time.sleep(9)"], **kwargs
        )
        os.kill(child.pid, signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # held back until the child is known
        return child

    monkeypatch.setattr(local.subprocess, "Popen", started)
    assert local.run("train", []) == 130
    assert capfd.readouterr().err == "error: interrupted; run the same command again to go on\n"
