"""Engines behind ssh, through a real sshd on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qat8.containers import engine, tunnel
from qat8.containers.container import Container
from qat8.errors import MachineError


@pytest.fixture
def url(sshd, engine_url):
    return sshd(engine_url.removeprefix("unix://"))


def tunnels() -> list[str]:
    """The ssh processes that forward an engine's socket to a directory of ours."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        found += [" ".join(words)] if words[0].endswith("ssh") and any("qat8-ssh-" in word for word in words) else []
    return found


def test_a_container_runs_and_its_output_and_code_come_back(url, ours, spec):
    pieces = []
    with engine.connect(url) as client, Container(client, spec("seq 1 20000; exit 7")) as container:
        outcome = container.run(lambda out, err: pieces.append(out or b""))
    assert outcome.code == 7
    assert b"".join(pieces).split() == [str(i).encode() for i in range(1, 20001)]
    assert ours() == [] and tunnels() == []


def test_no_engine_at_the_other_end_is_one_error(sshd, tmp_path):
    with pytest.raises(engine.EngineGone, match=r"no Docker engine at ssh://root@127\.0\.0\.1:\d+/\S+/none\.sock"):
        engine.connect(sshd(f"{tmp_path}/none.sock")).__enter__()


def test_a_key_that_is_not_taken_is_told_in_sshs_own_words(sshd, monkeypatch, tmp_path):
    known = os.environ["QAT8_SSH"].split("UserKnownHostsFile=")[1].split()[0]
    monkeypatch.setenv(
        "QAT8_SSH", f"ssh -F none -i {tmp_path}/none -o IdentitiesOnly=yes -o UserKnownHostsFile={known}"
    )
    with pytest.raises(MachineError, match=r"ssh does not reach ssh://.*Permission denied"), tunnel.to(sshd("/x")):
        pass


def test_a_host_whose_key_is_not_known_is_refused(sshd, monkeypatch):
    monkeypatch.setenv("QAT8_SSH", "ssh -F none -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes")
    with pytest.raises(MachineError, match="Host key verification failed"), tunnel.to(sshd("/x")):
        pass


def test_a_task_that_is_killed_leaves_no_tunnel(url):
    code = f"""
import time
from qat8.containers import tunnel
with tunnel.to({url!r}):
    print("up", flush=True)
    time.sleep(600)
"""
    task = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert task.stdout.readline() == "up\n"
    assert len(tunnels()) == 1
    task.kill()
    task.wait()
    deadline = time.monotonic() + 10
    while tunnels() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert tunnels() == []
