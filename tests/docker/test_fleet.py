"""One benchmark on two engines of this machine, as if they were two servers; one that dies, and the run after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from qat8 import artifacts
from qat8.containers import engine, leftovers, shipping

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def hosts_file(engine_url, second, tmp_path_factory):
    path = tmp_path_factory.mktemp("hosts") / "hosts.toml"
    path.write_text(f'[one]\nurl = "{engine_url}"\ncpus = "0"\n[two]\nurl = "{second}"\ncpus = "0"\n'
                    '[dead]\nurl = "unix:///absent/docker.sock"\n')  # fmt: skip
    return path


@pytest.fixture
def far(sshd, second, hosts_file):
    """The second engine again, by way of ssh; the name of a host."""
    if "[far]" not in (text := hosts_file.read_text()):
        hosts_file.write_text(f'{text}[far]\nurl = "{sshd(second.removeprefix("unix://"))}"\ncpus = "0"\n')


@pytest.fixture
def fleet(small, hosts_file, repo):
    """`fleet(names, *more)`: the stage, its exit code, output and the rows of its file."""

    def call(names: str, *more: str):
        stage = [sys.executable, "-m", "qat8.stages.benchmark_hosts"]
        command = [*stage, f"--hosts={names}", f"--hosts-file={hosts_file}", "--quick",
                   "--batch-sizes=1", "--threads=1", "--testers=cpp", "--max-top1-drop=100", *more]  # fmt: skip
        done = subprocess.run(command, cwd=repo, capture_output=True, text=True)
        found = sorted((artifacts.DATA / "fleet").glob("*/fleet.json"), key=lambda path: path.stat().st_mtime)
        done.rows = json.loads(found[-1].read_text())["rows"] if found else []
        return done

    return call


def test_two_engines_measure_and_the_results_are_one_file(fleet, second, engine_url):
    done = fleet("one,two")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(row["host"], row["status"]) for row in done.rows] == [("one", "done"), ("two", "done")]
    for row in done.rows:
        assert row["results"]["runtime"] == "docker"
        assert row["results"]["environment"]["container_details"]["host"] == row["host"]
        assert row["results"]["comparisons"][0]["speedup"] > 0.5
    with engine.connect(second) as client, engine.connect(engine_url) as local:
        assert client.images.get("qat8:wheel").id == local.images.get("qat8:wheel").id
    again = fleet("one,two")
    assert again.returncode == 0
    assert "one: has results of this very benchmark already" in again.stdout and "images/s" not in again.stdout


def test_what_a_host_has_is_not_sent_again(fleet):
    done = fleet("two", "--warmup=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "two: image is there" in done.stdout and "two: fp32 of MobileNetV1 is there" in done.stdout
    assert "sent" not in done.stdout


def test_a_host_that_is_not_there_is_named_and_the_other_finishes(fleet):
    done = fleet("dead,one", "--warmup=3")
    assert done.returncode == 6
    [line] = done.stderr.splitlines()[-1:]
    assert line.startswith("error: 1 of 2 jobs failed: dead, MobileNetV1: no Docker engine at unix:///absent")
    assert [(row["host"], row["status"]) for row in done.rows] == [("dead", "failed"), ("one", "done")]


LONGER = ("--min-seconds=1", "--repetitions=2")


def when_it_measures(url: str, act):
    """In a thread: wait for the benchmark's container on the engine at `url`, then `act`; the thread, and its times."""
    times = []

    def watch():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with engine.connect(url) as client:
                if any(c.labels.get("qat8.stage") == "benchmark-two" for c in client.containers.list()):
                    break
            time.sleep(0.2)
        act()
        times.append(time.monotonic())

    thread = threading.Thread(target=watch)
    thread.start()
    return thread, times


def home(url: str) -> Path:
    return Path(url.removeprefix("unix://")).parent


def pid(url: str) -> int:
    return int((home(url) / "docker.pid").read_text())


def test_an_engine_that_dies_in_mid_run_is_named_the_other_finishes_and_the_next_run_does_the_rest(
    fleet, second, script
):
    killer, _ = when_it_measures(second, lambda: os.kill(pid(second), signal.SIGKILL))
    try:
        done = fleet("one,two", *LONGER)
        killer.join()
    finally:
        script(home(second), "start").check_returncode()
    assert done.returncode == 6, done.stdout + done.stderr
    assert [(row["host"], row["status"]) for row in done.rows] == [("one", "done"), ("two", "failed")]
    done = fleet("one,two", *LONGER)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one: has results of this very benchmark already" in done.stdout
    assert [row["status"] for row in done.rows] == ["done", "done"]


def test_an_engine_that_falls_silent_in_mid_run_is_given_up_in_time_and_the_next_run_does_the_rest(fleet, second):
    """SIGSTOP: its socket takes connections, and nothing answers, as behind a network that swallows packets."""
    stopped = pid(second)
    more = (*LONGER, "--warmup=1", "--host-timeout=4")
    stopper, at = when_it_measures(second, lambda: os.kill(stopped, signal.SIGSTOP))
    try:
        done = fleet("one,two", *more)
        ended = time.monotonic()
        stopper.join()
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert done.returncode == 6, done.stdout + done.stderr
    assert "two, MobileNetV1: the Docker engine went away while benchmark-two ran: it does not answer" in done.stderr
    assert [(row["host"], row["status"]) for row in done.rows] == [("one", "done"), ("two", "failed")]
    assert ended - at[0] < 180  # with all that the other host measures meanwhile
    done = fleet("one,two", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one: has results of this very benchmark already" in done.stdout
    assert "two: removed what run" in done.stdout
    assert [row["status"] for row in done.rows] == ["done", "done"]


def test_a_benchmark_that_fails_on_a_host_is_told_in_its_own_words(fleet):
    done = fleet("one", "--strict")  # two short repetitions are never VALID
    assert done.returncode == 6
    assert "one, MobileNetV1: benchmark of MobileNetV1: " in done.stderr and "(exit code 7)" in done.stderr
    assert [row["status"] for row in done.rows] == ["failed"]


def test_an_engine_behind_ssh_measures_as_any_other(fleet, second, far):
    done = fleet("far", "--warmup=4")
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = done.rows
    assert (row["host"], row["status"]) == ("far", "done") and row["url"].startswith("ssh://root@127.0.0.1:")
    assert row["results"]["environment"]["container_details"]["host"] == "far"


def test_an_interrupt_stops_the_jobs_of_all_hosts_also_behind_ssh(small, hosts_file, repo, client, second, far):
    def running() -> list[str]:
        with engine.connect(second) as other:
            found = [c.labels.get(leftovers.STAGE, "") for c in (*client.containers.list(), *other.containers.list())]
        return sorted(stage for stage in found if stage.startswith("benchmark-"))

    words = ["--hosts=one,far", f"--hosts-file={hosts_file}", "--min-seconds=60", "--testers=cpp", "--threads=1"]
    task = subprocess.Popen([sys.executable, "-m", "qat8.stages.benchmark_hosts", *words], cwd=repo,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    deadline = time.monotonic() + 60
    while running() != ["benchmark-far", "benchmark-one"] and time.monotonic() < deadline:
        time.sleep(0.2)
    task.send_signal(signal.SIGINT)
    _, err = task.communicate(timeout=60)
    assert (task.returncode, running()) == (130, []), err
    assert [line for line in err.splitlines() if "Traceback" in line] == []


def test_an_artifact_that_was_damaged_on_the_way_is_refused(small, client, tmp_path):
    from qat8.errors import MachineError

    path = tmp_path / "thing.bin"
    path.write_bytes(b"x")
    image_id = client.images.get("qat8:wheel").id
    with pytest.raises(MachineError, match="did not arrive whole: error: what arrived has another SHA-256"):
        shipping.artifact(client, image_id, path, "0" * 64, "test")


def test_the_nodes_of_an_engines_host_are_seen_from_within(wheel_image, client):
    nodes = shipping.nodes(client, client.images.get("qat8:wheel").id, "test")
    assert 0 in nodes and nodes[0].startswith("0")
