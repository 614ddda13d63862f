"""docker/private-engine.sh leaves nothing mounted, whatever the engine left."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest


def mounted(below: Path) -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{below}/" in line]


@pytest.fixture
def engine(repo, engine_url):
    """An engine of this test's own, and `call(command)` for its script. `engine_url`: where none can start, a skip."""
    with tempfile.TemporaryDirectory(prefix="qat8-engine-") as directory:  # a socket's path may have 107 bytes
        variables = {**os.environ, "QAT8_ENGINE_DIR": directory}

        def call(command: str) -> subprocess.CompletedProcess:
            script = [repo / "docker" / "private-engine.sh", command]
            return subprocess.run(script, env=variables, capture_output=True, text=True)

        assert call("start").returncode == 0
        yield Path(directory), call
        call("stop")
        for mount in reversed(mounted(Path(directory))):
            subprocess.run(["umount", "--lazy", mount], check=True)


def kill(directory: Path) -> None:
    number = int((directory / "docker.pid").read_text())
    os.kill(number, signal.SIGKILL)
    while Path(f"/proc/{number}").exists():
        time.sleep(0.05)


@pytest.fixture
def left(engine):
    """An engine that was killed in a build, with what its steps had mounted, and then started again."""
    directory, call = engine
    kill(directory)
    for name in ("buildkit/executor/step/rootfs", "tmp-old/buildkit-mount1"):
        step = directory / "root" / name
        step.mkdir(parents=True)
        subprocess.run(["mount", "--bind", directory / "root" / "overlay2", step], check=True)
    assert call("start").returncode == 0
    assert directory / "root" / "buildkit/executor/step/rootfs" in map(Path, mounted(directory))
    return directory, call


def test_stop_unmounts_what_a_killed_engine_left(left):
    directory, call = left
    done = call("stop")
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")
    assert mounted(directory) == []


def test_stop_unmounts_what_a_process_is_still_in(left):
    directory, call = left
    with subprocess.Popen(["sleep", "600"], cwd=directory / "root" / "buildkit/executor/step/rootfs") as inside:
        try:
            done = call("stop")
        finally:
            inside.kill()
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")
    assert mounted(directory) == []
