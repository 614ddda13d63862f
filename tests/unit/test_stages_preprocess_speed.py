"""Preprocessing's speed beside a plain loop: the ways do the same work, and the figures are those of the turns."""

import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from qat8 import artifacts, datafile, imaging, packages, peers
from qat8.errors import MachineError
from qat8.preprocessing import torchvision_peer as torchvision
from qat8.stages import preprocess_speed


@pytest.fixture
def pinned():
    """The stage pins itself to a CPU; the tests after it shall have theirs back."""
    allowed = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, allowed)


def test_every_way_is_measured_and_said_beside_the_bare_loop(pinned, photographs, ends, tmp_path):
    flags = [f"--data-dir={photographs(20)}", "--label-list=val_list.txt", "--rounds=2"]
    done = ends(preprocess_speed.main, *flags, f"--output={tmp_path / 'speed.json'}")
    assert done.code == 0, done.err
    figures = json.loads((tmp_path / "speed.json").read_text())
    assert (figures["images"], figures["turns"]) == (20, 4)
    assert {"bare", "bare, written", "qat8 uint8", "qat8 float32"} <= set(figures["ways"])
    assert figures["ways"]["bare"]["of_bare"] == 1
    for name, way in figures["ways"].items():
        assert 0 < way["images_per_second"] < 1e6 and 0 < way["of_bare"] < 5
        assert any(line.strip().startswith(name) for line in done.out)


def test_the_bare_loop_and_ours_give_the_same_pixels(photograph, tmp_path):
    path, spec = photograph(tmp_path / "a.jpg", 400, 300), imaging.SYMMETRIC
    bare = np.asarray(preprocess_speed._bare(path, spec)).transpose(2, 0, 1)
    assert np.array_equal(bare, imaging.preprocess(path, spec))
    preprocess_speed._bare_written([path], spec, tmp_path / "bare.bin")
    whole = datafile.normalise(imaging.preprocess(path, spec), spec.mean, spec.std)
    assert (tmp_path / "bare.bin").read_bytes() == whole.tobytes()
    ours = preprocess_speed._ours(spec, "float32", tmp_path / "ours.bin")
    ours([path])
    assert (tmp_path / "ours.bin").read_bytes()[4096:] == whole.tobytes()


def test_torchvision_without_the_peers_environment_is_refused_with_the_way_to_it(
    pinned, photographs, ends, monkeypatch
):
    monkeypatch.setattr(peers, "PYTHON", Path("/nowhere/python"))
    done = ends(preprocess_speed.main, f"--data-dir={photographs(3)}", "--label-list=val_list.txt", "--torchvision")
    assert done.code == 5 and "inv build.peers" in done.err[0]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="stands for the peers' environment, which has Python 3.11")
def test_a_torchvision_that_does_not_run_is_told_by_its_own_words(photographs, monkeypatch, tmp_path):
    """This environment has no torch: the worker ends at its first line."""
    monkeypatch.setattr(peers, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(peers, "require", lambda names: None)
    wheel = tmp_path / "torchvision.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("torchvision/__init__.py", "")
    monkeypatch.setattr(packages, "fetch", lambda package: wheel)
    (tmp_path / "scratch").mkdir()
    words = r"torchvision 0\.28\.0 does not run: ModuleNotFoundError.*torch"
    with (
        torchvision.Torchvision(imaging.SYMMETRIC, tmp_path / "scratch") as way,
        pytest.raises(MachineError, match=words),
    ):
        way([photographs(1) / "val/0.jpg"])


def test_torchvision_gives_the_pixels_that_ours_gives(photograph, tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "DOWNLOADS", artifacts.REPOSITORY / "data/downloads")
    if not peers.INSTALLED.is_file() or "torch" not in peers.INSTALLED.read_text().split():
        pytest.skip("the peers' environment with torch is not there: inv build.peers")
    if not (packages.DOWNLOADS / torchvision.WHEEL.file).is_file():
        pytest.skip("torchvision was not fetched here: inv speed.preprocess --torchvision")
    path, spec = photograph(tmp_path / "a.jpg", 512, 512), imaging.SYMMETRIC  # of one size with every rounding
    ours = datafile.normalise(imaging.preprocess(path, spec), spec.mean, spec.std)
    (tmp_path / "scratch").mkdir()
    with torchvision.Torchvision(spec, tmp_path / "scratch") as way:
        assert 0 < way([path]) < 60
        assert way.last_sum == pytest.approx(float(ours.astype(float).sum()), abs=0.1)


def test_figures_are_medians_of_turns():
    times = {"bare": [(1.0, 10), (2.0, 10), (1.0, 10)], "ours": [(2.0, 10), (2.0, 10), (2.0, 10)]}
    ways = preprocess_speed._figures(times, 10, 0, imaging.SYMMETRIC)["ways"]
    assert ways["bare"] == {"images_per_second": 10.0, "of_bare": 1.0}
    assert ways["ours"] == {"images_per_second": 5.0, "of_bare": 0.5}
