"""The short form of `make soak-containers`: every kind of run, and nothing left; and a leak is found."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import soak_containers as soak


@pytest.mark.integration
def test_twenty_runs_of_every_kind_leave_nothing(wheel_image, client, ours):
    said: list[str] = []
    found = soak.soak(client, 20, every=10, stages=True, say=said.append)
    assert found["grown"] == {}, said
    assert set(found["runs"]) == {
        "trivial",
        "killed",
        "interrupted",
        "with a volume",
        "not started",
        "task killed",
        "stage",
    }
    assert sum(found["runs"].values()) == 20 and list(found["counts"]) == [0, 10, 20]
    before, after = found["counts"][0], found["counts"][20]
    assert {"containers", "volumes", "networks", "mounts", "own files", "own threads"} <= set(before)
    assert after["containers"] == before["containers"] and after["mounts"] <= before["mounts"]


def test_a_container_a_volume_a_file_and_a_thread_that_stay_are_found(engine_url, client, tmp_path):
    before = soak.counts(client)
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    left = client.containers.create(soak.BASE, ["true"], labels={"qat8-test": "1"})
    volume = client.volumes.create("qat8-test-leak")
    try:
        with contextlib.ExitStack() as files:
            for number in range(40):
                files.enter_context(open(tmp_path / f"{number}", "w"))
            grown = soak.grown(before, soak.counts(client))
    finally:
        done.set()
        thread.join()
        left.remove(force=True)
        volume.remove()
    assert {"containers", "volumes", "own files", "own threads"} <= set(grown), grown
    assert grown["containers"] == (before["containers"], before["containers"] + 1)
