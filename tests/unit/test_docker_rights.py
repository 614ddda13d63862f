"""Who a container's process is; what root's group is given, and what not. No engine is needed."""

import os
import stat
from pathlib import Path

import pytest

from qat8 import artifacts
from qat8.containers import rights
from qat8.containers.mounts import binds
from qat8.errors import UsageError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users: needs root")


@pytest.fixture
def data(tmp_path, monkeypatch):
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(artifacts, "DATA", directory)
    return directory


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_users_container_has_the_users_ids(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(os, "getegid", lambda: 4321)
    assert rights.user() == "1234:4321"


@as_root
def test_roots_container_is_nobodys_in_roots_group(data):
    assert rights.user() == "65532:0"


@as_root
def test_root_in_a_users_checkout_is_that_user(data):
    """sudo: what it writes is the user's, not root's."""
    os.chown(data, 1234, 4321)
    assert rights.user() == "1234:4321"
    (data / "mine").touch(mode=0o600)
    binds([])
    assert mode(data / "mine") == 0o600


@as_root
def test_roots_group_gets_the_owners_rights_on_data_and_others_get_nothing(data):
    (data / "models").mkdir(mode=0o700)
    (data / "models" / "m").touch()
    (data / "models" / "m").chmod(0o640)
    (data / "program").touch()
    (data / "program").chmod(0o755)
    binds([])
    assert [mode(p) for p in (data, data / "models", data / "models/m", data / "program")] == [
        0o770, 0o770, 0o660, 0o775]  # fmt: skip


@as_root
def test_what_is_another_users_is_left_alone_and_links_are_not_followed(data, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "elsewhere" / "file").touch(mode=0o644)
    (data / "models").mkdir()
    (data / "models" / "m").symlink_to(tmp_path / "elsewhere")
    (data / "theirs").touch(mode=0o600)
    os.chown(data / "theirs", 1234, 4321)
    binds([])
    assert mode(data / "theirs") == 0o600
    assert (mode(tmp_path / "elsewhere"), mode(tmp_path / "elsewhere/file")) == (0o755, 0o644)


@as_root
def test_a_directory_of_data_that_lies_elsewhere_is_written_to_and_shared(data, tmp_path):
    (tmp_path / "big").mkdir(mode=0o755)
    (data / "models").symlink_to(tmp_path / "big")
    binds([])
    assert mode(tmp_path / "big") == 0o775


@as_root
def test_an_output_elsewhere_is_shared_with_what_is_beside_it_of_its_own_and_nothing_more(data, tmp_path):
    out = tmp_path / "out"
    out.mkdir(mode=0o755)
    for name in ("val.bin", ".val.bin.journal", "other.bin"):
        (out / name).touch()
        (out / name).chmod(0o644)
    binds([f"--output-file={out}/val.bin"])
    assert [mode(p) for p in (out, out / "val.bin", out / ".val.bin.journal", out / "other.bin")] == [
        0o775, 0o664, 0o664, 0o644]  # fmt: skip


@as_root
def test_an_output_beside_roots_keys_is_refused_and_nothing_is_changed(data, tmp_path):
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "home").chmod(0o700)
    with pytest.raises(UsageError, match=r"cannot write val\.bin to .*/home; expected a directory below it"):
        binds([f"--output-file={tmp_path}/home/val.bin"])
    assert mode(tmp_path / "home") == 0o700


@as_root
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_an_input_that_root_alone_may_read_is_refused_with_the_way_out(data, tmp_path, kind):
    path = tmp_path / "mine"
    path.mkdir() if kind == "directory" else path.touch()
    path.chmod(0o700)
    with pytest.raises(UsageError, match=rf"{path} is open to root alone.*chmod -R g=u {path}, or --runtime=local"):
        binds([f"--data-file={path}"])
    path.chmod(0o750)
    binds([f"--data-file={path}"])
    assert mode(path) == 0o750
