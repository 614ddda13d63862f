"""Signals that ask a program to end: as exceptions, once, with nothing left running."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

from qat8 import signals

NUMBERS = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def as_before():
    """Handlers of this process: a block that a signal has ended leaves them ignored, for the end that follows."""
    handlers = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_an_exception_that_knows_its_exit_code(number):
    with pytest.raises(signals.Ended) as end, signals.handled():
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert (end.value.code, signals.received(end.value)) == (128 + number, 128 + number)
    assert "run the same command again" in str(end.value)


def test_a_second_signal_does_not_break_off_what_the_first_one_has_begun():
    done = []
    with pytest.raises(signals.Ended) as end, signals.handled():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            done.append("cleaned up")
    assert done and end.value.number == signal.SIGTERM


def test_a_signal_stays_one_when_a_library_raises_its_own_exception_in_its_place():
    with pytest.raises(signals.Ended) as end, signals.handled():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException:
            raise ValueError("invalid matrix") from None
    assert end.value.number == signal.SIGTERM
    with pytest.raises(ValueError, match="no signal came"), signals.handled():
        raise ValueError("no signal came")


def test_a_signal_while_a_module_is_imported_waits_for_the_end_of_the_import(tmp_path, monkeypatch):
    (tmp_path / "half_imported.py").write_text(
        "import os, time\nos.kill(os.getpid(), 15)\ntime.sleep(0.1)\nwhole = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(signals.Ended) as end, signals.handled():
        import half_imported

        time.sleep(5)
    assert end.value.number == signal.SIGTERM and half_imported.whole == 1


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_that_comes_while_an_object_is_cleared_away_is_not_lost(number, capfd):
    class Watched:
        pass

    watched, hook = Watched(), sys.unraisablehook
    weak = weakref.ref(watched, lambda _: os.kill(os.getpid(), number))
    with pytest.raises(signals.Ended) as end, signals.handled():
        del watched  # Python swallows what the callback raises
        assert weak() is None
        time.sleep(5)
    assert end.value.number == number and sys.unraisablehook is hook
    assert capfd.readouterr().err == ""


def test_after_two_seconds_a_second_signal_breaks_off_a_clean_up_that_hangs(monkeypatch):
    monkeypatch.setattr(signals, "IGNORE_SECONDS", 0.1)
    with pytest.raises(signals.Ended) as end, signals.handled():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
    assert end.value.number == signal.SIGINT


def test_a_deferred_signal_is_felt_at_the_end_of_the_block_whatever_swallows_exceptions_in_it():
    reached = []
    with pytest.raises(signals.Ended), signals.handled():
        with signals.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            reached.append("the end of the block")
        reached.append("what follows")
    assert reached == ["the end of the block"]


def test_a_held_signal_waits_though_another_thread_of_this_program_takes_it_from_the_kernel():
    """numpy's import leaves a thread of OpenBLAS that blocks nothing, so the kernel gives it what this one blocks."""
    begun, end_thread = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: begun.set() or end_thread.wait())
    thread.start()
    begun.wait()
    reached = []
    with pytest.raises(signals.Ended), signals.handled():
        with signals.held():
            signal.pthread_kill(thread.ident, signal.SIGTERM)
            time.sleep(0.05)
            reached.append("the end of the block")
        reached.append("what follows")
    end_thread.set()
    thread.join()
    assert reached == ["the end of the block"]


def test_what_the_parent_has_had_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals.handled():
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.05)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_when_all_goes_well_the_handlers_are_those_of_before():
    before = [signal.getsignal(number) for number in NUMBERS]
    with signals.handled():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in NUMBERS] == before


PROGRAM = """
import subprocess, time
from qat8 import cli
def main(argv):
    subprocess.Popen(["sh", "-c", "sleep 1000 & echo up; exec sleep 1001"]).poll()
    subprocess.Popen(["sh", "-c", "(trap '' TERM; sleep 1002) &"])  # an orphan that does not want to end
    time.sleep(60)
cli.run(main, [])
"""


@pytest.mark.parametrize("number", NUMBERS)
def test_children_grandchildren_and_orphans_end_with_the_program_that_a_signal_ends(number):
    mark = f"QAT8_TEST_MARK={os.getpid()}-{number}"
    command = ["env", mark, sys.executable, "-c", PROGRAM]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    time.sleep(0.3)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert err.startswith("error: ") and err.count("\n") == 1
    assert not [p for p in Path("/proc").glob("[0-9]*/environ") if mark.encode() in read(p)]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("number", NUMBERS)
def test_a_stage_that_is_ended_while_it_imports_what_it_needs_says_one_line(number):
    code = "import os, time\nfrom qat8 import signals\nsignals.leave_at_once()\nos.kill(os.getpid(), %d)\ntime.sleep(9)"
    done = subprocess.run([sys.executable, "-c", code % number], capture_output=True, text=True)
    assert done.returncode == 128 + number and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_paddle_which_takes_sigterm_for_itself_is_put_aside():
    code = (
        "import os, signal, time\nfrom qat8 import cli\ndef main(argv):\n    from qat8.engine import paddle\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(9)\ncli.run(main, [])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 143, done.stderr
    assert done.stderr == "error: terminated; run the same command again to go on\n"


TAKES_SIGTERM = """
import ctypes, os, signal
ctypes.CDLL(None).signal(signal.SIGTERM, None)  # SIG_DFL, behind Python's back
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_sigterm_while_paddle_has_it_for_itself_is_felt_as_ours_afterwards(tmp_path):
    (tmp_path / "paddle.py").write_text(TAKES_SIGTERM)
    code = (
        "import time\nfrom qat8 import cli\ndef main(argv):\n    try:\n"
        "        import qat8.engine\n        time.sleep(5)\n"
        "    finally:\n        print('cleaned up', flush=True)\ncli.run(main, [])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout) == (143, "cleaned up\n")
    assert done.stderr == "error: terminated; run the same command again to go on\n"


LATE = """
import os, sys
from qat8 import cli, signals
signals.leave_at_once()
class Late:
    def __del__(self, os=os):
        os.kill(os.getpid(), 1), os.kill(os.getpid(), 15), os.write(1, b"late")
sys.modules["late"] = Late()
cli.run(lambda argv: None, [])
"""


def test_a_signal_that_comes_when_python_has_put_its_handlers_away_changes_nothing_any_more():
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "late", "")
