"""Photographs -> data file: what is written, what is carried along, what stops it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from qat8 import datafile, imaging, manifests
from qat8.datafile import Reader
from qat8.older_python import zip_strict
from qat8.stages import preprocess

HEAD = datafile.HEADER_BYTES


@pytest.fixture
def make(tmp_path, ends):
    """Runs the stage on a directory with --local and small pictures; the data file's path, or what was said."""

    def run(data_dir, *flags, name="val.bin", code=0):
        output = tmp_path / "out" / name
        argv = ["--local", f"--data-dir={data_dir}", f"--output-file={output}", "--data-dim=16", "--workers=1", *flags]
        done = ends(preprocess.main, *argv)
        assert done.code == code, done.err
        return done if code else output

    return run


def manifest(output) -> dict:
    return json.loads(output.with_name(output.name + ".manifest.json").read_text())


def test_the_file_holds_the_lists_images_and_labels_in_its_order(make, photographs):
    data_dir = photographs(3)
    (data_dir / "val_list.txt").write_text("val/2.jpg 7\nval/0.jpg 1\n")
    with Reader(make(data_dir)) as reader:
        images, labels = reader.batch(0, 9)
        spec = preprocess.replace(imaging.SYMMETRIC, crop=16)
        for image, name in zip_strict(images, ("2.jpg", "0.jpg")):
            pixels = imaging.preprocess(data_dir / "val" / name, spec)
            assert np.array_equal(image, datafile.normalise(pixels, spec.mean, spec.std))
    assert labels.tolist() == [7, 1]


def test_header_and_manifest_say_how_it_was_preprocessed(make, photographs):
    output = make(photographs(2), "--model=ResNet50")
    header, content = datafile.read_header(output), manifest(output)
    assert header.fingerprint == content["config"]["preprocessing"]
    assert (header.height, header.width, header.classes) == (16, 16, 1000)
    assert (header.fingerprint["filter"], header.fingerprint["resize"], header.fingerprint["crop"]) == (
        "lanczos",
        18,
        16,
    )
    assert (content["images"], content["missing"]) == (2, [])


def test_the_models_normalisation_can_be_replaced(make, photographs):
    data_dir = photographs(1)
    with Reader(make(data_dir, "--model=ResNet50", name="a.bin")) as a:
        assert a.header.mean == pytest.approx(imaging.IMAGENET.mean)
    with Reader(make(data_dir, "--model=ResNet50", "--normalisation=symmetric", name="b.bin")) as b:
        assert b.header.mean == (0.5, 0.5, 0.5)


def test_data_dim_is_the_side_of_the_images(make, photographs):
    header = datafile.read_header(make(photographs(1), "--data-dim=24"))
    assert (header.height, header.width, header.fingerprint["crop"]) == (24, 24, 24)


def test_uint8_stands_for_the_same_values_in_a_quarter_of_the_space(make, photographs):
    data_dir = photographs(3)
    floats, bytes_ = make(data_dir, name="f.bin"), make(data_dir, "--dtype=uint8", name="u.bin")
    with Reader(floats) as f, Reader(bytes_) as u:
        assert u.header.image_bytes * 4 == f.header.image_bytes
        assert f.batch(0, 3)[0].tobytes() == u.batch(0, 3)[0].tobytes()


def test_the_raw_layout_is_just_the_payload_of_ours(make, photographs):
    data_dir = photographs(3)
    ours, raw = make(data_dir, name="ours.bin"), make(data_dir, "--format=raw", name="raw.bin")
    payload = raw.read_bytes()
    assert len(payload) == 8 + 3 * 3 * 16 * 16 * 4 + 3 * 8
    assert ours.read_bytes()[HEAD : HEAD + len(payload)] == payload
    assert manifest(raw)["config"]["preprocessing"] == manifest(ours)["config"]["preprocessing"]


def test_the_bytes_do_not_depend_on_the_number_of_workers(photographs, tmp_path):
    data_dir = photographs(19)  # more than one chunk, the last one smaller
    for workers in (1, 2, 3):
        command = [sys.executable, "-m", "qat8.stages.preprocess", "--local", f"--data-dir={data_dir}", "--data-dim=16"]
        output = tmp_path / str(workers) / "val.bin"
        subprocess.run([*command, f"--workers={workers}", f"--output-file={output}"], check=True, capture_output=True)
    assert len({(tmp_path / f"{workers}/val.bin").read_bytes() for workers in (1, 2, 3)}) == 1
    with Reader(output) as reader:
        assert len(reader) == 19 and reader.labels.tolist() == [i % 10 for i in range(19)]


# Up to date or not.


@pytest.fixture
def again(make, photographs, ends, capsys, tmp_path):
    """`again(change, *flags)`: make the file, change something, make it again; whether it was up to date."""

    def run(change=lambda data_dir, output: None, *flags) -> bool:
        data_dir = photographs(2)
        output = make(data_dir)
        change(data_dir, output)
        argv = ["--local", f"--data-dir={data_dir}", f"--output-file={output}", "--data-dim=16", *flags]
        done = ends(preprocess.main, *argv)
        assert done.code == 0, done.err
        with Reader(output) as reader:
            assert len(reader) == 2
        return done.out[-1].startswith("data file is up to date: ")

    return run


def test_a_second_time_there_is_nothing_to_do(again):
    assert again()


@pytest.mark.parametrize("flags", [("--data-dim=17",), ("--dtype=uint8",), ("--classes=11",), ("--model=ResNet50",)])
def test_another_setting_makes_it_again(again, flags):
    assert not again(lambda *_: None, *flags)


@pytest.mark.parametrize(
    "change",
    [
        lambda d, o: (d / "val_list.txt").write_text("val/0.jpg 1\nval/1.jpg 1\n"),
        lambda d, o: (d / "val/0.jpg").write_bytes((d / "val/1.jpg").read_bytes()),
        lambda d, o: os.utime(d / "val/0.jpg", (1, 1)),
        lambda d, o: o.write_bytes(o.read_bytes()[:-1] + b"x"),
        lambda d, o: o.write_bytes(o.read_bytes()[:100]),
        lambda d, o: o.unlink(),
        lambda d, o: o.with_name(o.name + ".manifest.json").unlink(),
        lambda d, o: o.with_name(o.name + ".manifest.json").write_text("{"),
    ],
    ids=["list", "image", "image's time", "byte", "truncated", "gone", "no manifest", "broken manifest"],
)
def test_another_input_or_a_changed_output_makes_it_again(again, change):
    assert not again(change)


# Missing and unreadable images.


def test_missing_image_stops_preprocess_and_names_the_file(make, photographs, tmp_path):
    data_dir = photographs(3)
    (data_dir / "val/1.jpg").unlink()
    done = make(data_dir, code=3)
    assert len(done.err) == 1 and "val/1.jpg: no such image" in done.err[0] and "--on-missing=skip" in done.err[0]
    assert not (tmp_path / "out").exists()


def test_several_missing_images_are_counted(make, photographs):
    data_dir = photographs(4)
    for i in (0, 2, 3):
        (data_dir / f"val/{i}.jpg").unlink()
    assert "val/0.jpg and 2 more: no such image" in make(data_dir, code=3).err[0]


def test_missing_images_that_are_skipped_are_named_in_the_manifest_and_take_no_row(make, photographs, capsys):
    data_dir = photographs(3)
    (data_dir / "val/1.jpg").unlink()
    output = make(data_dir, "--on-missing=skip")
    with Reader(output) as reader:
        assert reader.labels.tolist() == [0, 2]
    content = manifest(output)
    assert (content["images"], content["missing"]) == (2, [str(data_dir / "val/1.jpg")])
    assert content["config"]["on_missing"] == "skip"


def test_an_image_that_comes_back_makes_the_file_again(make, photographs, photograph):
    data_dir = photographs(2)
    (data_dir / "val/1.jpg").rename(data_dir / "away")
    make(data_dir, "--on-missing=skip")
    (data_dir / "away").rename(data_dir / "val/1.jpg")
    assert manifest(make(data_dir, "--on-missing=skip"))["images"] == 2


def test_skipping_every_image_is_an_error_all_the_same(make, photographs):
    data_dir = photographs(1)
    (data_dir / "val/0.jpg").unlink()
    assert "val/0.jpg: no such image" in make(data_dir, "--on-missing=skip", code=3).err[0]


def test_an_unreadable_jpeg_stops_it_and_leaves_the_old_file_and_nothing_else(make, photographs, tmp_path):
    data_dir = photographs(3)
    before = make(data_dir).read_bytes()
    (data_dir / "val/1.jpg").write_bytes((data_dir / "val/1.jpg").read_bytes()[:300])
    done = make(data_dir, "--on-missing=skip", code=3)
    assert "val/1.jpg: not a readable image" in done.err[0] and len(done.err) == 1
    assert (tmp_path / "out/val.bin").read_bytes() == before
    left = {p.name for p in (tmp_path / "out").iterdir()}
    assert left == {"val.bin", "val.bin.manifest.json", ".val.bin.lock"}


def test_an_unreadable_jpeg_is_named_by_several_workers_too(photographs, tmp_path):
    data_dir = photographs(16)
    (data_dir / "val/12.jpg").write_bytes(b"")
    command = [sys.executable, "-m", "qat8.stages.preprocess", "--local", f"--data-dir={data_dir}", "--workers=2"]
    done = subprocess.run([*command, f"--output-file={tmp_path / 'out/val.bin'}"], capture_output=True, text=True)
    assert done.returncode == 3 and done.stderr.count("\n") == 1, done.stderr
    assert "val/12.jpg: not a readable image" in done.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == [".val.bin.lock"]


def test_a_bad_line_of_the_list_is_named_by_its_number(make, photographs):
    data_dir = photographs(2)
    (data_dir / "val_list.txt").write_text("val/0.jpg 0\nval/1.jpg\n")
    assert "val_list.txt:2: " in make(data_dir, code=3).err[0]


def test_a_class_beyond_the_models_is_refused(make, photographs):
    assert "val_list.txt:3: class 2" in make(photographs(3), "--classes=2", code=3).err[0]


# Subsets.

PARTS = [
    {"name": "a", "start": 0, "count": 1, "labels": "theirs", "used_in_training": False},
    {"name": "b", "start": 1, "count": 2, "labels": "ours", "used_in_training": True},
]


def describe(data_dir, subsets) -> None:
    manifests.write(data_dir / "manifest.json", "dataset", {}, {}, {}, subsets=subsets)


def whole(data_dir, count):
    labels = str(data_dir / "val_list.txt")
    return [{"name": "all", "start": 0, "count": count, "labels": labels, "used_in_training": False}]


def test_the_data_sets_subsets_are_carried_along(make, photographs):
    data_dir = photographs(3)
    describe(data_dir, {"val_list.txt": PARTS, "other.txt": PARTS[:1]})
    assert manifest(make(data_dir))["subsets"] == PARTS


def test_a_list_of_the_users_is_one_subset(make, photographs):
    data_dir = photographs(3)
    assert manifest(make(data_dir))["subsets"] == whole(data_dir, 3)


def test_subsets_are_not_carried_along_when_an_image_is_missing_because_their_rows_have_moved(make, photographs):
    data_dir = photographs(3)
    describe(data_dir, {"val_list.txt": PARTS})
    (data_dir / "val/1.jpg").unlink()
    assert manifest(make(data_dir, "--on-missing=skip"))["subsets"] == whole(data_dir, 2)


def test_subsets_that_do_not_cover_the_list_are_not_carried_along(make, photographs):
    data_dir = photographs(3)
    describe(data_dir, {"val_list.txt": PARTS[:1]})
    assert manifest(make(data_dir))["subsets"] == whole(data_dir, 3)


@pytest.mark.parametrize("text", ['{"name": "my web page"}', "[1]", "not JSON"])
def test_a_manifest_json_of_the_users_own_does_not_matter(make, photographs, text):
    data_dir = photographs(3)
    (data_dir / "manifest.json").write_text(text)
    assert manifest(make(data_dir))["subsets"] == whole(data_dir, 3)


# Flags.


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--local"], ["--local without --data-dir"]),
        (["--data-dir=somewhere"], ["--data-dir without --local", "--local --data-dir=DIR"]),
        (["--local", "--data-dir=d", "--format=raw", "--dtype=uint8"], ["--format=raw with --dtype=uint8"]),
        (["--data-dim=0"], ["'0' is not a whole number from 1"]),
        (["--data-dim=5000"], ["--data-dim=5000", "at most 4096"]),
        (["--workers=0"], ["--workers"]),
        (["--model=AlexNet"], ["unknown model 'AlexNet'", "MobileNetV1", "VGG19"]),
        (["--format=npy"], ["--format", "qat8", "raw"]),
        (["--on-missing=zero"], ["--on-missing", "stop", "skip"]),
        (["--local=perhaps"], ["neither true nor false"]),
    ],
)
def test_flags_that_do_not_fit_are_refused_with_what_does(refused, flags, words):
    refused(preprocess.main, 2, words, *flags)


def test_the_script_takes_no_archive_together_with_local(refused):
    def main(argv):
        preprocess.main(argv, prog="full_ILSVRC2012_val_preprocess.py", fetch=lambda **_: pytest.fail("fetched"))

    refused(main, 2, ["--archive or --url with --local"], "--local", "--data-dir=d", "--archive=a.tar")


def test_without_flags_the_embedded_data_set_is_meant(refused, monkeypatch, tmp_path):
    monkeypatch.setattr(preprocess, "EMBEDDED", tmp_path / "embedded")
    refused(preprocess.main, 3, [f"{tmp_path}/embedded: no such directory"])


def test_a_relative_list_lies_in_the_data_directory_unless_there_is_one_here(make, photographs, monkeypatch, tmp_path):
    data_dir = photographs(3)
    (data_dir / "short.txt").write_text("val/2.jpg 2\n")
    monkeypatch.chdir(tmp_path)
    with Reader(make(data_dir, "--label-list=short.txt")) as reader:
        assert reader.labels.tolist() == [2]
    (tmp_path / "short.txt").write_text("val/1.jpg 1\n")
    with Reader(make(data_dir, "--label-list=short.txt")) as reader:
        assert reader.labels.tolist() == [1]
