"""What is packed for another machine: the artifact itself, as the volume's owner's, and nothing that it points to."""

import io
import tarfile

import pytest

from qat8.containers import shipping
from qat8.errors import DataError


@pytest.fixture
def model(tmp_path):
    directory = tmp_path / "data" / "int8"
    directory.mkdir(parents=True)
    (directory / "model.pdmodel").write_bytes(b"model")
    (directory / "manifest.json").write_text("{}")
    return directory


def packed(path):
    buffer = io.BytesIO()
    shipping._pack(path, "incoming", buffer)
    with tarfile.open(fileobj=buffer) as archive:
        return {member.name: member for member in archive.getmembers()}


def test_an_artifact_is_packed_with_its_manifest_as_the_volumes_owners(model):
    found = packed(model)
    assert set(found) == {"incoming", "incoming/int8", "incoming/int8/model.pdmodel", "incoming/int8/manifest.json"}
    assert {(member.uid, member.gid, member.uname) for member in found.values()} == {(65532, 0, "")}


def test_a_file_is_packed_with_the_manifest_beside_it(tmp_path):
    (tmp_path / "val.bin").write_bytes(b"x")
    (tmp_path / "val.bin.manifest.json").write_text("{}")
    assert set(packed(tmp_path / "val.bin")) == {"incoming", "incoming/val.bin", "incoming/val.bin.manifest.json"}


def test_an_artifact_behind_a_link_is_sent_and_a_link_within_it_too(model, tmp_path):
    (model / "same.pdmodel").symlink_to("model.pdmodel")
    (tmp_path / "link").symlink_to(model)
    assert packed(tmp_path / "link")["incoming/link/same.pdmodel"].isreg()


@pytest.mark.parametrize("kind", ["absolute", "climbing", "directory", "dangling"])
def test_a_link_that_leads_out_of_an_artifact_is_not_sent(model, tmp_path, kind):
    (tmp_path / "secret").write_text("secret")
    target = {"absolute": tmp_path / "secret", "climbing": "../../secret", "directory": tmp_path, "dangling": "/absent"}
    (model / "key").symlink_to(target[kind])
    with pytest.raises(DataError, match=r"int8/key leads out of int8, or is no file"):
        packed(model)
