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
from qat8.containers import engine, shipping

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def second(start_engine, engine_url):
    directory = Path.home() / ".cache" / "qat8" / "test-engine-2"
    return start_engine(directory)


@pytest.fixture(scope="module")
def hosts_file(engine_url, second, tmp_path_factory):
    path = tmp_path_factory.mktemp("hosts") / "hosts.toml"
    path.write_text(f'[one]\nurl = "{engine_url}"\ncpus = "0"\n[two]\nurl = "{second}"\ncpus = "0"\n'
                    '[dead]\nurl = "unix:///absent/docker.sock"\n')  # fmt: skip
    return path


@pytest.fixture(scope="module")
def small(wheel_image, inv, fetched):
    """A model and its INT8 form; how good it is does not matter here."""
    if not (artifacts.DATA / "models" / "MobileNetV1" / "int8" / "manifest.json").is_file():
        for name in ("dataset", "weights", "preprocess"):
            assert inv(name, "--runtime=docker").code == 0
        more = ("--max-iters=1", "--set=calibration.steps=2", "--set=calibration.mean_correction_images=16")
        assert inv("train", *more, "--runtime=docker").code == 0
        assert inv("convert", "--runtime=docker").code == 0


@pytest.fixture
def fleet(small, hosts_file, repo):
    """`fleet(names, *more)`: the stage, its exit code, output and the rows of its file."""

    def call(names: str, *more: str):
        stage = [sys.executable, "-m", "qat8.stages.benchmark_hosts"]
        command = [*stage, f"--hosts={names}", f"--hosts-file={hosts_file}", "--quick",
                   "--batch-sizes=1", "--threads=1", "--testers=cpp", *more]  # fmt: skip
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


def test_an_engine_that_dies_in_mid_run_is_named_the_other_finishes_and_the_next_run_does_the_rest(
    fleet, second, start_engine, repo
):
    more = ("--min-seconds=6", "--repetitions=2", "--batch-sizes=1")
    directory = Path(second.removeprefix("unix://")).parent

    def kill_when_it_measures():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with engine.connect(second) as client:
                if any(c.labels.get("qat8.stage") == "benchmark-two" for c in client.containers.list()):
                    break
            time.sleep(0.2)
        os.kill(int((directory / "docker.pid").read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill_when_it_measures)
    killer.start()
    done = fleet("one,two", *more)
    killer.join()
    assert done.returncode == 6, done.stdout + done.stderr
    assert [(row["host"], row["status"]) for row in done.rows] == [("one", "done"), ("two", "failed")]
    variables = {**os.environ, "QAT8_ENGINE_DIR": str(directory)}
    subprocess.run([repo / "docker" / "private-engine.sh", "start"], env=variables, check=True, capture_output=True)
    from qat8.containers import leftovers

    with engine.connect(second) as client:
        leftovers.remove(client, everything=True)
    done = fleet("one,two", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one: has results of this very benchmark already" in done.stdout
    assert [row["status"] for row in done.rows] == ["done", "done"]


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
