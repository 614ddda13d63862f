"""`make test` runs the containers' tests beside the others."""

import os
import signal
import subprocess
import sys
import time

import pytest
import side_by_side


def program(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture(autouse=True)
def as_before():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_both_run_at_once_and_what_the_second_prints_comes_behind_the_first(capfd):
    began = time.monotonic()
    first = "import time; print('a', flush=True); time.sleep(2); print('b')"
    assert side_by_side.together([program(first), program("import time; time.sleep(2); print('c')")]) == 0
    assert time.monotonic() - began < 3.9
    assert capfd.readouterr().out == "a\nb\nc\n"


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 2)])
def test_one_that_fails_is_enough(codes):
    assert side_by_side.together([program(f"exit({code})") for code in codes]) == 1


@pytest.mark.parametrize(("number", "to_group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_ends_both_after_their_clean_up(number, to_group):
    each = program(f"import signal, time, sys; signal.signal({number:d}, lambda *_: (print('put away'), sys.exit(2))); "
                   "print('up', file=sys.stderr, flush=True); time.sleep(60)")  # fmt: skip
    code = f"import sys; import side_by_side; sys.exit(side_by_side.together([{each}, {each}]))"
    env = {**os.environ, "PYTHONPATH": str(side_by_side.TESTS)}
    runner = subprocess.Popen(program(code), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              start_new_session=True)  # fmt: skip
    assert runner.stderr.readline() == "up\n"
    time.sleep(1)  # the other one's goes into its file
    os.killpg(runner.pid, number) if to_group else runner.send_signal(number)
    out, _ = runner.communicate(timeout=20)
    assert (runner.returncode, out.count("put away")) == (2, 2)


def test_with_one_cpu_there_is_one_process_and_no_test_is_left_out(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert side_by_side.groups() == [[str(side_by_side.TESTS)]]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    everything, containers = side_by_side.groups()
    assert everything == [str(side_by_side.TESTS), f"--ignore={containers[0]}"] and containers[0].endswith(
        "tests/docker"
    )
