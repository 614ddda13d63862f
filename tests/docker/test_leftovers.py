"""kill -9 of a task in mid-run leaves its container; inv clean.containers finds and removes it, and no other's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from qat8.containers import leftovers
from qat8.containers.container import Container

TASK = """
from qat8.containers import engine
from qat8.containers.container import Container, Spec
with engine.connect() as client:
    spec = Spec(image="qat8-base:bookworm", command=["sh", "-c", "echo up; sleep 600"], run_id="killed", name="sleep")
    with Container(client, spec) as container:
        container.run(lambda out, err: print(out, flush=True))
"""


@pytest.fixture
def killed_task(engine_url):
    task = subprocess.Popen([sys.executable, "-c", TASK], stdout=subprocess.PIPE, text=True)
    assert "up" in task.stdout.readline()
    task.send_signal(signal.SIGKILL)
    task.wait()


def test_the_container_of_a_killed_task_is_removed(killed_task, inv, ours):
    assert [c.labels["qat8.run"] for c in ours()] == ["killed"]
    done = inv("clean.containers")
    assert done.code == 0, done.err
    assert "sleep of run killed, running" in done.out and "1 containers removed" in done.out
    assert ours() == []
    assert "0 containers removed" in inv("clean.containers").out


def test_the_container_of_a_living_task_stays_unless_all_is_said(client, spec, ours):
    with Container(client, spec("sleep 600")) as container:
        assert leftovers.remove(client) == []
        assert len(ours()) == 1
        assert [found.id for found in leftovers.remove(client, everything=True)] == [container.id[:12]]
    assert ours() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_task_that_is_told_to_end_removes_its_container(number, wheel_image, inv, ours, tmp_path):
    code = """
import sys
from qat8.containers import container
from qat8.runtimes import docker
arguments = container.Spec.arguments
script = "trap 'exit 130' INT; while :; do sleep 0.1; done"
container.Spec.arguments = lambda self: arguments(self) | {"command": ["sh", "-c", script]}
sys.exit(docker.run("doctor", []))
"""
    task = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not any(c.status == "running" for c in ours()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(task.pid, number)
    _, err = task.communicate(timeout=40)
    assert task.returncode == 130
    assert err.splitlines()[-1].startswith("error: interrupted; the container is stopped and removed")
    assert ours() == []
