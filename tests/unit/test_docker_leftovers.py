import os
import subprocess

from qat8.containers import leftovers


def test_this_process_is_alive():
    assert leftovers.alive(leftovers.owner(os.getpid()))


def test_a_process_that_ended_is_not_even_before_it_is_waited_for():
    child = subprocess.Popen(["sleep", "60"])
    label = leftovers.owner(child.pid)
    assert leftovers.alive(label)
    child.kill()
    while leftovers.alive(label):  # a zombie in a moment
        pass
    child.wait()
    assert not leftovers.alive(label)


def test_another_process_with_the_same_number_is_not_the_owner():
    boot, pid, started = leftovers.owner(os.getpid()).split(":")
    assert not leftovers.alive(f"{boot}:{pid}:{int(started) - 1}")


def test_an_owner_on_another_machine_counts_as_alive():
    assert leftovers.alive("another-boot:1:1")


def test_a_label_that_is_none_has_no_owner():
    assert not leftovers.alive("") and not leftovers.alive(":::")
