"""The common window and what counts inside it; instances that fail or hang; the testers are pretended."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from qat8.benchmarking import instances
from qat8.benchmarking.instances import Window, common_window, images_inside
from qat8.errors import ModelError, StageError
from qat8.latencies import Queries


def batches(start: int, length: int, count: int, images: int = 10) -> Queries:
    """`count` batches of `length` ns, one after the other."""
    starts = np.arange(start, start + count * length, length)
    return Queries(images, starts, starts, starts + length)


def test_the_common_window_is_from_the_last_start_to_the_first_end():
    assert common_window([batches(0, 10, 10), batches(15, 10, 20), batches(5, 7, 30)]) == Window(15, 100)


def test_instances_that_never_ran_at_once_have_no_window():
    with pytest.raises(StageError, match="did not run at the same time"):
        common_window([batches(0, 10, 3), batches(40, 10, 3)])


def test_batches_outside_the_window_do_not_count_and_those_across_its_edge_count_in_part():
    queries = batches(0, 10, 10)  # ten batches in [0, 100]
    assert images_inside(queries, Window(0, 100)) == 100
    assert images_inside(queries, Window(20, 50)) == 30
    assert images_inside(queries, Window(25, 50)) == pytest.approx(25)  # half of one, two whole ones
    assert images_inside(queries, Window(22, 24)) == pytest.approx(2)  # a fifth of one
    assert images_inside(queries, Window(200, 300)) == 0


def test_a_pause_between_batches_is_time_without_images():
    starts = np.array([0, 50])
    assert images_inside(Queries(10, starts, starts, starts + 10), Window(0, 60)) == 20


@pytest.mark.parametrize("offset", range(0, 100, 7))
def test_throughput_does_not_depend_on_how_the_instances_batches_lie_to_each_other(offset):
    """Two instances of equal speed, out of step: whole batches alone would give from 90 to 100 % of it."""
    both = [batches(0, 100, 10), batches(offset, 100, 10)]
    window = common_window(both)
    speeds = [images_inside(q, window) / window.seconds for q in both]
    assert speeds == pytest.approx([10 / 100e-9] * 2)


# Processes.

# Announces itself, waits for the word, and ends; what argv[1] says goes wrong.
TESTER = """
import sys, time
if sys.argv[1] == "broken":
    print("error: no such model", file=sys.stderr)
    sys.exit(4)
print("ready", flush=True)
line = sys.stdin.readline()
if sys.argv[1] == "late":
    print("error: the model's output is not finite", file=sys.stderr)
    sys.exit(7)
if sys.argv[1] == "killed":
    time.sleep(0.3)
open(sys.argv[1] + ".pid", "w").write(line)
time.sleep(600)
"""


def command(what: str) -> list[str]:
    return [sys.executable, "-c", TESTER, what]


def children() -> set[int]:
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


@pytest.mark.parametrize("place", [0, 1])
def test_one_that_cannot_start_ends_the_others_and_says_why(place, tmp_path):
    before = children()
    commands = [command(str(tmp_path / "good")), command(str(tmp_path / "good"))]
    commands[place] = command("broken")
    with pytest.raises(ModelError, match=r"no such model \(exit code 4\)"):
        instances.run(commands, 1)
    assert children() <= before


def test_one_that_fails_while_it_measures_ends_the_others_and_says_why(tmp_path):
    before = children()
    start = time.monotonic()
    with pytest.raises(Exception, match="not finite"):
        instances.run([command("late"), command(str(tmp_path / "good"))], 1)
    assert time.monotonic() - start < 60 and children() <= before


def test_ctrl_c_leaves_no_instance_behind(tmp_path):
    before = children()

    def interrupt(*_):
        if all((tmp_path / f"{name}.pid").exists() for name in "ab"):
            raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            instances.run([command(str(tmp_path / "a")), command(str(tmp_path / "b"))], 1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert children() <= before
    told = {(tmp_path / f"{name}.pid").read_text() for name in "ab"}
    assert len(told) == 1 and int(told.pop()) > 0, "both were told the same moment"
