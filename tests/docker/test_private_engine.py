"""docker/private-engine.sh leaves nothing mounted, whatever the engine left."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

STEP = "root/buildkit/executor/step/rootfs"


def mounted(below: Path) -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{below}/" in line]


@pytest.fixture
def engine(script, engine_url):
    """The directory of an engine of this test's own. `engine_url`: where none can start, a skip."""
    with tempfile.TemporaryDirectory(prefix="qat8-engine-") as name:  # a socket's path may have 107 bytes
        directory = Path(name)
        assert script(directory, "start").returncode == 0
        yield directory
        script(directory, "stop")
        for mount in reversed(mounted(directory)):
            subprocess.run(["umount", "--lazy", mount], check=True)


def kill(directory: Path) -> None:
    number = int((directory / "docker.pid").read_text())
    os.kill(number, signal.SIGKILL)
    while Path(f"/proc/{number}").exists():
        time.sleep(0.05)


@pytest.fixture
def left(engine, script):
    """An engine that was killed in a build, with what its steps had mounted, and then started again."""
    kill(engine)
    for name in (STEP, "root/tmp-old/buildkit-mount1"):
        (engine / name).mkdir(parents=True)
        subprocess.run(["mount", "--bind", engine / "root/overlay2", engine / name], check=True)
    assert script(engine, "start").returncode == 0
    assert str(engine / STEP) in mounted(engine)
    return engine


def test_stop_unmounts_what_a_killed_engine_left(left, script):
    done = script(left, "stop")
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")
    assert mounted(left) == []


def test_stop_unmounts_what_a_process_is_still_in(left, script):
    with subprocess.Popen(["sleep", "600"], cwd=left / STEP) as inside:
        try:
            done = script(left, "stop")
        finally:
            inside.kill()
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")
    assert mounted(left) == []
