"""The embedded data set and weights, made from pretended packages."""

import json

import numpy as np
import pytest

from qat8 import labels
from qat8.packages import FOOLBOX
from qat8.stages import dataset, weights


@pytest.fixture
def shelf(monkeypatch):
    """What the packages hold: a dictionary that the test may change, and the list of packages that were opened."""
    foolbox = {f"foolbox/data/imagenet_{i:02d}_{i * 7}.jpg": b"val %d" % i for i in range(20)}
    foolbox |= {"foolbox/data/cifar10_00_3.jpg": b"no", "foolbox/__init__.py": b"no"}
    files = [f"ai_benchmark/data/{row['file']}" for row in dataset._our_labels()]
    content = {"foolbox": foolbox, "ai-benchmark": {name: name.encode() for name in files}, "opened": []}

    def members(package):
        content["opened"].append(package.name)
        return content[package.name]

    monkeypatch.setattr(dataset, "members", members)
    return content


@pytest.fixture
def make(ends, tmp_path):
    def run(code: int = 0):
        done = ends(dataset.main, f"--output-dir={tmp_path / 'set'}")
        assert done.code == code, done.err
        return (done.err or done.out)[-1]

    return run


def test_both_parts_and_their_lists_are_written_in_the_tutorials_layout(shelf, make, tmp_path):
    assert "20 + 100 photographs" in make()
    home = tmp_path / "set"
    lists = {name: labels.read(home, home / f"{name}_list.txt") for name in ("val", "train", "all")}
    assert [len(lists[name]) for name in ("val", "train", "all")] == [20, 100, 120]
    assert lists["all"] == lists["val"] + lists["train"]
    assert all(path.is_file() for path, _ in lists["all"])
    assert [(p.name, p.read_bytes(), label) for p, label in lists["val"]][:2] == [
        ("foolbox_00.jpg", b"val 0", 0), ("foolbox_01.jpg", b"val 1", 7),
    ]  # fmt: skip


def test_each_photograph_keeps_the_label_of_its_row(shelf, make, tmp_path):
    make()
    home = tmp_path / "set"
    written = {path.read_bytes().decode(): label for path, label in labels.read(home, home / "train_list.txt")}
    assert written == {f"ai_benchmark/data/{r['file']}": int(r["imagenet_id"]) for r in dataset._our_labels()}


def test_origins_and_licences_are_written_down_and_the_manifest_names_the_subsets(shelf, make, tmp_path):
    make()
    origin = (tmp_path / "set/ORIGIN.md").read_text()
    assert "foolbox==3.3.4" in origin and "ai-benchmark==0.1.2" in origin and FOOLBOX.sha256 in origin
    assert "MIT" in origin and "Apache-2.0" in origin
    subsets = json.loads((tmp_path / "set/manifest.json").read_text())["subsets"]
    assert [(s["start"], s["count"], s["used_in_training"]) for s in subsets["all_list.txt"]] == [
        (0, 20, False), (20, 100, True),
    ]  # fmt: skip
    assert [s["start"] for s in subsets["train_list.txt"]] == [0]


def test_a_second_time_there_is_nothing_to_do_and_no_package_is_opened(shelf, make):
    make()
    shelf["opened"].clear()
    assert make().startswith("data set is up to date: ") and shelf["opened"] == []


def test_a_photograph_that_was_changed_is_put_back(shelf, make, tmp_path):
    make()
    (tmp_path / "set/val/foolbox_03.jpg").write_bytes(b"changed")
    assert "20 + 100" in make()
    assert (tmp_path / "set/val/foolbox_03.jpg").read_bytes() == b"val 3"


def test_another_number_of_photographs_than_promised_is_refused_and_leaves_nothing(shelf, make, tmp_path):
    del shelf["foolbox"]["foolbox/data/imagenet_07_49.jpg"]
    assert "foolbox-3.3.4-py3-none-any.whl holds 19 photographs; expected 20" in make(code=3)
    assert [p.name for p in tmp_path.iterdir()] == [".set.lock"]


@pytest.mark.parametrize("flag", ["--archive=a.tar", "--url=http://x"])
def test_an_archive_is_for_the_official_set_alone(refused, flag):
    refused(dataset.main, 2, ["without --ilsvrc2012"], flag)


def test_our_labels_are_a_hundred_classes_of_imagenet_one_per_photograph():
    rows = dataset._our_labels()
    assert len({row["file"] for row in rows}) == len(rows) == 100
    assert all(0 <= int(row["imagenet_id"]) < 1000 for row in rows)


# Weights.


def test_a_graph_with_another_checksum_is_refused_and_leaves_nothing(monkeypatch, refused, tmp_path):
    monkeypatch.setattr(weights, "members", lambda package: {weights.GRAPH: b"something else"})
    refused(
        weights.main, 3, [weights.GRAPH, "another checksum", weights.GRAPH_SHA256], f"--output-dir={tmp_path / 'w'}"
    )
    assert [p.name for p in tmp_path.iterdir()] == [".w.lock"]


def test_weights_are_written_with_their_origin_and_are_up_to_date_then(monkeypatch, ends, tmp_path):
    made = {"fc.weight": np.arange(6, dtype=np.float32)}
    monkeypatch.setattr(weights, "_state", lambda directory: made)
    flag = f"--output-dir={tmp_path / 'w'}"
    assert ends(weights.main, flag).code == 0
    with np.load(tmp_path / "w/weights.npz") as read:
        assert np.array_equal(read["fc.weight"], made["fc.weight"])
    assert "nudity==0.2.3" in (tmp_path / "w/ORIGIN.md").read_text()
    monkeypatch.setattr(weights, "_state", lambda directory: pytest.fail("made again"))
    assert ends(weights.main, flag).out[-1].startswith("weights are up to date: ")


def test_models_without_a_package_of_weights_say_how_to_use_ones_own(refused):
    refused(weights.main, 2, ["no package with ImageNet weights of ResNet50", "--file=FILE"], "--model=resnet50")
