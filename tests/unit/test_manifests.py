"""A manifest says what an artifact was made of, and so when there is nothing to do."""

import json
import os
import sys

import pytest

from qat8 import manifests
from qat8.artifacts import atomic_directory, sha256
from qat8.errors import DataError


def artifact(directory, text="made", config=None, inputs=None):
    """A directory as a stage writes it."""
    with atomic_directory(directory) as temporary:
        (temporary / "part").mkdir()
        (temporary / "part/file").write_text(text)
        outputs = manifests.outputs_of(temporary)
        manifests.write(temporary / "manifest.json", "stage", config or {"k": 1}, inputs or {"in": "ab"}, outputs)
    return directory


def test_an_artifact_made_from_the_same_is_up_to_date(tmp_path):
    assert manifests.up_to_date(artifact(tmp_path / "model"), "stage", {"k": 1}, {"in": "ab"})


def test_a_configuration_that_json_changes_is_still_the_same(tmp_path):
    config = {"mean": (0.5, 0.5), "path": tmp_path}
    assert manifests.up_to_date(artifact(tmp_path / "model", config=config), "stage", config, {"in": "ab"})


@pytest.mark.parametrize(
    ("stage", "config", "inputs"),
    [
        ("other", {"k": 1}, {"in": "ab"}),
        ("stage", {"k": 2}, {"in": "ab"}),
        ("stage", {"k": 1, "l": 0}, {"in": "ab"}),
        ("stage", {"k": 1}, {"in": "cd"}),
        ("stage", {"k": 1}, {"in": "ab", "more": "cd"}),
        ("stage", {"k": 1}, {}),
    ],
)
def test_another_stage_configuration_or_input_is_not_up_to_date(tmp_path, stage, config, inputs):
    assert not manifests.up_to_date(artifact(tmp_path / "model"), stage, config, inputs)


@pytest.mark.parametrize(
    "harm",
    [
        lambda d: (d / "part/file").write_text("mide"),
        lambda d: (d / "part/file").unlink(),
        lambda d: (d / "manifest.json").unlink(),
        lambda d: (d / "manifest.json").write_text("{"),
        lambda d: (d / "manifest.json").write_text("[]"),
        lambda d: (d / "manifest.json").write_text(json.dumps({"schema": 1})),
        lambda d: (d / "manifest.json").write_text(json.dumps({"schema": 2})),
    ],
)
def test_a_changed_byte_or_a_broken_manifest_is_not_up_to_date(tmp_path, harm):
    directory = artifact(tmp_path / "model")
    harm(directory)
    assert not manifests.up_to_date(directory, "stage", {"k": 1}, {"in": "ab"})


@pytest.fixture
def victim(tmp_path):
    """A file outside of the artifact, and how often it was opened."""
    (tmp_path / "victim").write_text("secret")
    return tmp_path / "victim"


@pytest.mark.parametrize("name", ["{victim}", "../victim", "part/../../victim", "part/link", "part/pipe", "/dev/zero",
                                  "", "part", "part/\0", None])  # fmt: skip
def test_a_name_in_a_manifest_that_leads_out_of_the_artifact_is_not_opened(tmp_path, victim, monkeypatch, name):
    directory = artifact(tmp_path / "model")
    (directory / "part/link").symlink_to(victim)
    os.mkfifo(directory / "part/pipe")
    manifest = json.loads((directory / "manifest.json").read_text())
    name = name.format(victim=victim) if isinstance(name, str) else name
    manifest["outputs"] = {name: sha256(victim)} if name is not None else ["part/file"]
    (directory / "manifest.json").write_text(json.dumps(manifest))
    opened = []
    monkeypatch.setattr(manifests, "sha256", lambda path: opened.append(path) or sha256(path))
    assert not manifests.up_to_date(directory, "stage", {"k": 1}, {"in": "ab"})
    assert opened == []


def test_an_artifact_behind_a_link_is_still_whole(tmp_path):
    artifact(tmp_path / "big/model")
    (tmp_path / "models").symlink_to("big")
    assert manifests.up_to_date(tmp_path / "models/model", "stage", {"k": 1}, {"in": "ab"})


def test_a_manifest_that_is_a_pipe_is_an_error_and_not_waited_for(tmp_path):
    directory = artifact(tmp_path / "model")
    (directory / "manifest.json").unlink()
    os.mkfifo(directory / "manifest.json")
    with pytest.raises(DataError, match=r"manifest\.json is no file"):
        manifests.read(directory)


def test_what_is_not_there_is_not_up_to_date(tmp_path):
    assert not manifests.up_to_date(tmp_path / "none", "stage", {}, {})


def test_the_manifest_of_a_file_lies_beside_it_and_covers_its_bytes(tmp_path):
    file = tmp_path / "val.bin"
    file.write_bytes(b"data")
    manifests.write(tmp_path / "val.bin.manifest.json", "stage", {}, {}, {"val.bin": sha256(file)}, images=4)
    assert manifests.up_to_date(file, "stage", {}, {})
    assert manifests.read(file)["images"] == 4
    file.write_bytes(b"dat")
    assert not manifests.up_to_date(file, "stage", {}, {})


def test_the_manifest_says_what_made_the_artifact(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/long/way/convert.py", "--model=X"])
    manifest = manifests.read(artifact(tmp_path / "model"))
    assert (manifest["schema"], manifest["stage"], manifest["command"]) == (1, "stage", ["convert.py", "--model=X"])
    assert manifest["outputs"] == {"part/file": sha256(tmp_path / "model/part/file")}
    assert manifest["versions"].keys() >= {"qat8", "python", "paddlepaddle", "numpy"}


def test_a_password_on_the_command_line_is_not_in_the_manifest(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--mlflow=https://me:s3cret@host/x"])
    artifact(tmp_path / "model")
    assert "s3cret" not in (tmp_path / "model/manifest.json").read_text()


def test_no_manifest_is_none_and_a_broken_one_is_an_error(tmp_path):
    (tmp_path / "model").mkdir()
    assert manifests.read(tmp_path / "model") is None
    for text, fact in (("{", "manifest.json"), ('{"schema": 99}', "not a manifest of schema 1")):
        (tmp_path / "model/manifest.json").write_text(text)
        with pytest.raises(DataError, match=fact):
            manifests.read(tmp_path / "model")


@pytest.mark.parametrize(
    ("config", "more", "untrained"),
    [
        ({"untrained": True}, {}, True),
        ({}, {"untrained": True}, True),
        ({}, {"untrained": False}, False),
        ({}, {}, False),
    ],
    ids=["configuration", "an INT8 model of before", "a trained one of before", "trained"],
)
def test_random_weights_are_known_by_the_manifest(tmp_path, config, more, untrained):
    (tmp_path / "model").mkdir()
    assert manifests.is_untrained(tmp_path / "model") is False
    manifests.write(tmp_path / "model/manifest.json", "train", config, {}, {}, **more)
    assert manifests.is_untrained(tmp_path / "model") is untrained


@pytest.mark.parametrize(
    "change",
    [
        {"config": []}, {"config": None}, {"inputs": 3}, {"outputs": None}, {"stage": 1}, {"preprocessing": [1]},
        {"config": {"preprocessing": "x"}}, {"origin": [1]}, {"left_in_fp32": {}}, {"subsets": "x"}, {"model": 3},
    ],
)  # fmt: skip
def test_a_manifest_with_a_member_of_another_type_is_refused_and_the_member_named(tmp_path, change):
    manifests.write(tmp_path / "manifest.json", "stage", {}, {}, {})
    content = json.loads((tmp_path / "manifest.json").read_text()) | change
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"{next(iter(change))}.* is not what a manifest holds"):
        manifests.read(tmp_path)


def test_a_manifest_of_brackets_without_end_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(DataError):
        manifests.read(tmp_path)
