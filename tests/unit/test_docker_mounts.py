import os
import socket
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


@pytest.mark.parametrize("flag", ["results", "beside", "file", "pretrained-model", "config-file"])
def test_every_flag_that_names_an_input_brings_it(tmp_path, flag):
    (tmp_path / "input").touch()
    assert others([f"--{flag}={tmp_path}/input"]) == [Bind(tmp_path / "input")]


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


# Symbolic links below data/ and below inputs.


@pytest.fixture
def data(tmp_path, monkeypatch):
    directory = tmp_path / "data"
    (directory / "dataset").mkdir(parents=True)
    monkeypatch.setattr(artifacts, "DATA", directory)
    return directory


def test_what_a_link_in_an_artifact_names_comes_read_only(data, tmp_path):
    (tmp_path / "photos").mkdir()
    (data / "dataset" / "mine").symlink_to(tmp_path / "photos")
    assert others([]) == [Bind(tmp_path / "photos")]


def test_a_relative_link_and_a_link_to_a_file_lead_where_they_lead_on_the_host(data, tmp_path):
    (tmp_path / "val.bin").touch()
    (data / "dataset" / "val.bin").symlink_to("../../val.bin")
    assert others([]) == [Bind(tmp_path / "val.bin")]


def test_a_directory_of_data_that_lies_elsewhere_stays_writable(data, tmp_path):
    (tmp_path / "big").mkdir()
    (data / "models").symlink_to(tmp_path / "big")
    assert others([]) == [Bind(tmp_path / "big", True)]


def test_a_chain_of_links_is_mounted_link_by_link(data, tmp_path):
    (tmp_path / "end").mkdir()
    (tmp_path / "middle").mkdir()
    (tmp_path / "middle" / "next").symlink_to(tmp_path / "end")
    (data / "dataset" / "mine").symlink_to(tmp_path / "middle")
    assert others([]) == [Bind(tmp_path / "end"), Bind(tmp_path / "middle")]


def test_links_within_data_and_links_that_lead_nowhere_bring_nothing(data):
    (data / "dataset" / "same").symlink_to("../dataset")
    (data / "dataset" / "gone").symlink_to("/absent/photos")
    assert others([]) == []


def test_a_link_below_an_input_is_followed(data, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in" / "val").symlink_to(tmp_path / "elsewhere")
    assert others([f"--data-dir={tmp_path}/in"]) == [Bind(tmp_path / "elsewhere"), Bind(tmp_path / "in")]


def test_a_link_to_a_directory_of_the_system_is_refused(data):
    (data / "dataset" / "mine").symlink_to("/usr")
    with pytest.raises(UsageError, match=r"dataset/mine is a link to /usr, which a container cannot have"):
        binds([])


@pytest.mark.parametrize("kind", ["keys", "keys of root", "settings", "a chain to settings", "devices", "a socket"])
def test_a_link_to_what_no_artifact_has_to_do_with_is_refused(data, tmp_path, monkeypatch, kind):
    """It may be an archive of somebody else's that was unpacked below data/."""
    link = data / "dataset" / "mine"
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").touch()
    (tmp_path / "chain").symlink_to("/etc/passwd")
    with socket.socket(socket.AF_UNIX) as engine:
        monkeypatch.chdir(tmp_path)  # a socket has a short name
        engine.bind("sock")
        link.symlink_to({"keys": tmp_path / ".ssh", "keys of root": tmp_path / ".ssh/id_ed25519",
                         "devices": "/dev/zero", "settings": "/etc/passwd", "a chain to settings": tmp_path / "chain",
                         "a socket": tmp_path / "sock"}[kind])  # fmt: skip
        with pytest.raises(UsageError, match=r"dataset/mine is a link to .*, which a container cannot have"):
            binds([])


def test_more_links_than_a_container_can_have_are_refused(data, tmp_path):
    (tmp_path / "far").mkdir()
    for i in range(100):
        (tmp_path / "far" / str(i)).touch()
        (data / "dataset" / str(i)).symlink_to(tmp_path / "far" / str(i))
    with pytest.raises(UsageError, match=r"more than 64 such links.*link one directory"):
        binds([])
