"""Artifacts come whole or not at all, and know when there is nothing to do."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from qat8 import artifacts
from qat8.artifacts import atomic_directory, atomic_file, exclusive, model_files, sha256
from qat8.errors import BusyError, DataError, ModelError


def names(directory):
    """What is there but for locks, which stay."""
    return sorted(p.name for p in directory.iterdir() if not p.name.endswith(".lock"))


def artifact(directory, text="made"):
    with atomic_directory(directory) as temporary:
        (temporary / "part").mkdir()
        (temporary / "part/file").write_text(text)
        (temporary / "manifest.json").write_text("{}")
    return directory


# A file.


def test_a_file_is_in_its_place_only_when_the_block_has_ended_well(tmp_path):
    target = tmp_path / "new/data.bin"
    with atomic_file(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole" and names(target.parent) == ["data.bin"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path, error):
    target = tmp_path / "data.bin"
    target.write_text("old")
    with pytest.raises(error), atomic_file(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old" and names(tmp_path) == ["data.bin"]


def test_a_failure_leaves_no_file_where_there_was_none(tmp_path):
    with pytest.raises(ValueError), atomic_file(tmp_path / "data.bin"):
        raise ValueError
    assert names(tmp_path) == []


# A directory.


def test_a_directory_is_in_its_place_only_when_the_block_has_ended_well(tmp_path):
    target = tmp_path / "new/model"
    with atomic_directory(target) as temporary:
        (temporary / "file").write_text("whole")
        assert not target.exists()
    assert (target / "file").read_text() == "whole" and names(target.parent) == ["model"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_a_new_directory_replaces_the_old_one_with_all_that_was_in_it(tmp_path):
    artifact(tmp_path / "model", "old")
    with atomic_directory(tmp_path / "model") as temporary:
        (temporary / "manifest.json").write_text("{}")
        (temporary / "other").write_text("new")
    assert names(tmp_path / "model") == ["manifest.json", "other"] and names(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_directory_whole_and_nothing_beside_it(tmp_path, error):
    target = artifact(tmp_path / "model", "old")
    with pytest.raises(error), atomic_directory(target) as temporary:
        (temporary / "file").write_text("half")
        raise error
    assert (target / "part/file").read_text() == "old" and names(tmp_path) == ["model"]


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_what_is_no_artifact_is_not_replaced(tmp_path, kind):
    mine = tmp_path / "mine"
    if kind == "directory":
        mine.mkdir()
    (mine / "thesis.tex" if kind == "directory" else mine).write_text("years")
    with pytest.raises(DataError, match="is no artifact of qat8"), atomic_directory(mine):
        pytest.fail("the block must not run")
    assert (mine / "thesis.tex" if kind == "directory" else mine).read_text() == "years"


def test_an_empty_directory_may_be_filled(tmp_path):
    (tmp_path / "model").mkdir()
    artifact(tmp_path / "model")
    assert (tmp_path / "model/part/file").read_text() == "made"


def test_a_link_is_replaced_and_what_it_points_to_is_left_alone(tmp_path):
    artifact(tmp_path / "elsewhere", "theirs")
    (tmp_path / "model").symlink_to("elsewhere")
    artifact(tmp_path / "model", "ours")
    assert (tmp_path / "model/part/file").read_text() == "ours" and not (tmp_path / "model").is_symlink()
    assert (tmp_path / "elsewhere/part/file").read_text() == "theirs" and names(tmp_path) == ["elsewhere", "model"]


def test_the_new_directory_takes_the_old_ones_place_in_one_step(tmp_path, monkeypatch):
    target = artifact(tmp_path / "model", "old")
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("there would be a moment without a model"))
    with atomic_directory(target) as temporary:
        (temporary / "manifest.json").write_text("{}")
    assert names(target) == ["manifest.json"] and names(tmp_path) == ["model"]


def test_all_of_a_directory_reaches_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    steps, fsync, exchange = [], os.fsync, artifacts._exchange
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    monkeypatch.setattr(artifacts, "_exchange", lambda *pair: (steps.append("name"), exchange(*pair))[1])
    with atomic_directory(tmp_path / "model") as temporary:
        (temporary / "part").mkdir()
        (temporary / "part/file").write_text("whole")
        inside = {str(temporary), str(temporary / "part"), str(temporary / "part/file")}
    before, after = steps[: steps.index("name")], steps[steps.index("name") + 1 :]
    assert set(before) == inside and after == [str(tmp_path)]


def test_an_error_of_the_disk_that_does_not_say_where_names_the_artifact(tmp_path):
    with pytest.raises(OSError) as failure, exclusive(tmp_path / "model"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert failure.value.filename == str(tmp_path / "model")
    with pytest.raises(OSError) as failure, exclusive(tmp_path / "model"):
        raise OSError(errno.ENOSPC, "No space left on device", "elsewhere")
    assert failure.value.filename == "elsewhere"


# Killed runs.

KILLED = """
import os, sys
from pathlib import Path
from qat8 import artifacts
target = Path(sys.argv[1])
make = getattr(artifacts, sys.argv[2])
with artifacts.exclusive(target), make(target) as temporary:
    (temporary / "file" if temporary.is_dir() else temporary).write_text("half")
    if sys.argv[3] == "renaming":
        artifacts._exchange = lambda *_: False  # as on a file system that cannot
        replace, calls = os.replace, []
        def replace_once(a, b):
            if calls:
                os._exit(9)
            calls.append(replace(a, b))
        os.replace = replace_once
    else:
        os._exit(9)
"""


def killed(target, make, when="writing"):
    done = subprocess.run([sys.executable, "-c", KILLED, str(target), make, when], capture_output=True, text=True)
    assert done.returncode == 9, done.stderr


@pytest.mark.parametrize("make", ["atomic_file", "atomic_directory"])
@pytest.mark.parametrize("name", ["model", "odd [1]* name"])
def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path, make, name):
    killed(tmp_path / name, make)
    assert len(names(tmp_path)) == 1 and names(tmp_path) != [name]
    with exclusive(tmp_path / name):
        assert names(tmp_path) == []


def test_a_run_killed_between_its_two_renames_loses_nothing(tmp_path):
    target = artifact(tmp_path / "model", "old")
    killed(target, "atomic_directory", "renaming")
    assert not target.exists()
    with exclusive(target):
        assert (target / "part/file").read_text() == "old" and names(tmp_path) == ["model"]


def test_the_left_over_old_one_does_not_replace_the_new_one(tmp_path):
    target = artifact(tmp_path / "model", "new")
    artifact(tmp_path / ".model.tmp-x-old", "old")
    with exclusive(target):
        assert (target / "part/file").read_text() == "new" and names(tmp_path) == ["model"]


def test_a_left_over_link_is_cleared_and_not_what_it_points_to(tmp_path):
    artifact(tmp_path / "elsewhere", "theirs")
    artifact(tmp_path / "model")
    (tmp_path / ".model.tmp-x-old").symlink_to("elsewhere")
    with exclusive(tmp_path / "model"):
        assert names(tmp_path) == ["elsewhere", "model"]
    assert (tmp_path / "elsewhere/part/file").read_text() == "theirs"


def test_a_files_manifest_that_was_being_written_is_cleared_with_what_is_left_of_the_file(tmp_path):
    (tmp_path / ".val.bin.manifest.json.tmp-x").write_text("{")
    (tmp_path / ".val.bin.tmp-x").write_text("half")
    with exclusive(tmp_path / "val.bin"):
        assert names(tmp_path) == []


def test_leftovers_of_another_artifact_are_not_touched(tmp_path):
    (tmp_path / ".model2.tmp-x").write_text("in work")
    with exclusive(tmp_path / "model"):
        assert names(tmp_path) == [".model2.tmp-x"]


# The lock.


def test_a_second_run_on_the_same_artifact_is_refused_and_names_it(tmp_path):
    with exclusive(tmp_path / "model"):
        with pytest.raises(BusyError, match=r"another run is writing .*model"), exclusive(tmp_path / "model"):
            pytest.fail("the block must not run")
        with exclusive(tmp_path / "other"):
            pass
    with exclusive(tmp_path / "model"):
        pass


def test_the_lock_of_a_killed_run_holds_nobody_up(tmp_path):
    killed(tmp_path / "model", "atomic_file")
    with exclusive(tmp_path / "model"):
        assert names(tmp_path) == []


def test_a_refused_run_does_not_clear_what_the_first_is_writing(tmp_path):
    with exclusive(tmp_path / "model"), atomic_file(tmp_path / "model") as temporary:
        with pytest.raises(BusyError), exclusive(tmp_path / "model"):
            pass
        assert temporary.exists()


# Sums and names.


def test_the_sum_of_a_directory_covers_names_and_bytes_and_no_manifest(tmp_path):
    (tmp_path / "a").write_text("1")
    first = sha256(tmp_path)
    (tmp_path / "manifest.json").write_text("created at some time")
    assert sha256(tmp_path) == first
    (tmp_path / "a").rename(tmp_path / "b")
    second = sha256(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, sha256(tmp_path)}) == 3


def test_a_fingerprint_does_not_depend_on_the_order_of_keys():
    assert artifacts.fingerprint({"a": 1, "b": [2]}) == artifacts.fingerprint({"b": [2], "a": 1})
    assert artifacts.fingerprint({"a": 1}) != artifacts.fingerprint({"a": 2})


def test_a_model_is_one_program_with_its_parameters(tmp_path):
    program, parameters = tmp_path / "m.v1.pdmodel", tmp_path / "m.v1.pdiparams"
    program.touch()
    parameters.touch()
    assert model_files(tmp_path) == (program, parameters)


@pytest.mark.parametrize(
    ("files", "fact"),
    [
        ([], "holds 0 files"),
        (["a.pdmodel", "a.pdiparams", "b.pdmodel", "b.pdiparams"], "holds 2 files"),
        (["a.pdmodel"], "a.pdiparams is missing"),
        (["a.pdmodel", "b.pdiparams"], "a.pdiparams is missing"),
    ],
)
def test_anything_else_is_no_model_directory(tmp_path, files, fact):
    for file in files:
        (tmp_path / file).touch()
    with pytest.raises(ModelError, match=fact):
        model_files(tmp_path)


def test_a_model_directory_that_is_not_there_is_named(tmp_path):
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(ModelError, match=f"{wrong.name}: no such directory"):
            model_files(wrong)


def test_paths_are_shown_as_the_user_would_type_them(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert artifacts.shown(tmp_path / "here/data/x.bin") == os.path.join("data", "x.bin")
    assert artifacts.shown(tmp_path / "elsewhere") == str(tmp_path / "elsewhere")
