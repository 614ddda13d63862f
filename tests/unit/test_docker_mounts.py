import os
from pathlib import Path

import pytest

from qat8 import artifacts
from qat8.containers.container import Bind
from qat8.containers.mounts import binds
from qat8.errors import UsageError


def others(argv):
    found = binds(argv)
    assert Bind(artifacts.DATA, True) in found
    return [bind for bind in found if bind.path != artifacts.DATA]


def test_the_data_directory_is_always_there_and_paths_in_it_need_nothing():
    inside = artifacts.DATA / "x.bin"
    inside.touch()
    assert (
        others([f"--data-file={inside}", f"--output={artifacts.DATA}/r.json", "--quick", "--models=MobileNetV1"]) == []
    )


def test_an_input_outside_comes_read_only_under_its_own_name(tmp_path):
    (tmp_path / "photos").mkdir()
    assert others([f"--data_dir={tmp_path}/photos"]) == [Bind(tmp_path / "photos")]


def test_a_relative_path_is_one_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("val.bin").touch()
    assert others(["--data-file=val.bin"]) == [Bind(tmp_path / "val.bin")]


def test_a_positional_argument_is_an_input(tmp_path):
    (tmp_path / "r.json").touch()
    assert others([f"{tmp_path}/r.json", "nothing-like-a-path"]) == [Bind(tmp_path / "r.json")]


def test_an_output_brings_the_nearest_directory_above_it_writable(tmp_path):
    assert others([f"--output-dir={tmp_path}/new/deep"]) == [Bind(tmp_path, True)]


def test_what_is_below_a_writable_directory_is_not_mounted_twice(tmp_path):
    (tmp_path / "in").mkdir()
    assert others([f"--data-dir={tmp_path}/in", f"--output-file={tmp_path}/out.bin"]) == [Bind(tmp_path, True)]


def test_a_missing_input_is_left_to_the_stage_which_names_it(tmp_path):
    assert others([f"--data-dir={tmp_path}/absent"]) == []


@pytest.mark.parametrize("output", ["/usr/r.json", "/absent/r.json", "/r.json"])
def test_an_output_in_the_systems_directories_is_refused(output):
    with pytest.raises(UsageError, match="a container cannot write to"):
        binds([f"--output={output}"])


def test_a_link_is_mounted_under_its_own_name(tmp_path):
    (tmp_path / "real").mkdir()
    os.symlink("real", tmp_path / "link")
    assert others([f"--fp32-model={tmp_path}/link"]) == [Bind(tmp_path / "link")]
