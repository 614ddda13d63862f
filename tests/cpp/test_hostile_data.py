"""Damaged and hostile data files end in exit code 3 and one line, in both testers; golden files read alike in both."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from qat8.datafile import Reader
from qat8.errors import DataError

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
IMAGES_AT, IMAGE, COUNT = 4096, 768, 3
LABELS_AT = IMAGES_AT + COUNT * IMAGE
TRAILER_AT = LABELS_AT + 8 * COUNT


def put(content: bytes, at: int, form: str, *values) -> bytes:
    packed = struct.pack(form, *values)
    return content[:at] + packed + content[at + len(packed) :]


def sealed(content: bytes) -> bytes:
    """With a correct header checksum: a file that somebody made so, rather than a damaged one."""
    return put(content, 4084, "<I", zlib.crc32(content[:4084]))


def flipped(content: bytes, at: int) -> bytes:
    return put(content, at, "B", content[at] ^ 0x10)


def with_label(content: bytes, label: int) -> bytes:
    content = put(content, LABELS_AT + 8, "<q", label)
    return sealed(put(content, 44, "<I", zlib.crc32(content[LABELS_AT:TRAILER_AT])))


HOSTILE = {
    "empty": ("raw", lambda c: b""),
    "seven_bytes": ("raw", lambda c: c[:7]),
    "raw_truncated": ("raw", lambda c: c[:-1]),
    "raw_overlong": ("raw", lambda c: c + b"\0"),
    "raw_no_images": ("raw", lambda c: put(c, 0, "<q", 0)),
    "raw_negative_count": ("raw", lambda c: put(c, 0, "<q", -3)),
    # 2^61 x 776 bytes is a multiple of 2^64: a 64-bit product would wrap around to the right size.
    "raw_count_that_overflows": ("raw", lambda c: put(c, 0, "<q", 2**61 + COUNT)),
    "raw_negative_label": ("raw", lambda c: put(c, 8 + COUNT * IMAGE, "<q", -1)),
    "magic_only": ("float32", lambda c: c[:8]),
    "header_only": ("float32", lambda c: c[:4088]),
    "truncated": ("float32", lambda c: c[:-1]),
    "overlong": ("float32", lambda c: c + b"\0"),
    "truncated_and_its_header_agrees": ("float32", lambda c: sealed(put(c[:-4], 80, "<Q", len(c) - 4))),
    "count_that_overflows": ("float32", lambda c: sealed(put(c, 16, "<Q", 2**61))),
    "count_one_more": ("float32", lambda c: sealed(put(c, 16, "<Q", COUNT + 1))),
    "count_of_the_payload_differs": ("float32", lambda c: flipped(c, 4088)),
    "bit_in_the_header": ("float32", lambda c: flipped(c, 60)),
    "bit_in_the_fingerprint": ("float32", lambda c: flipped(c, 100)),
    "bit_in_the_label": ("float32", lambda c: flipped(c, LABELS_AT)),
    "bit_in_the_trailer": ("float32", lambda c: flipped(c, TRAILER_AT)),
    "label_too_large": ("float32", lambda c: with_label(c, 10)),
    "label_negative": ("float32", lambda c: with_label(c, -1)),
    "version_2": ("float32", lambda c: sealed(put(c, 8, "<I", 2))),
    "one_channel": ("float32", lambda c: sealed(put(c, 24, "<I", 1))),
    "height_0": ("float32", lambda c: sealed(put(c, 28, "<I", 0))),
    "width_enormous": ("float32", lambda c: sealed(put(c, 32, "<I", 2**32 - 1))),
    "dtype_3": ("float32", lambda c: sealed(put(c, 36, "<I", 3))),
    "no_classes": ("float32", lambda c: sealed(put(c, 40, "<I", 0))),
    "fingerprint_too_long": ("float32", lambda c: sealed(put(c, 52, "<I", 2**32 - 1))),
    "fingerprint_not_json": ("float32", lambda c: sealed(put(c, 88, "4s", b"{{{{"))),
    "fingerprint_not_an_object": ("float32", lambda c: sealed(put(put(c, 52, "<I", 4), 88, "4s", b"1234"))),
    "fingerprint_not_utf8": ("float32", lambda c: sealed(put(c, 92, "B", 0xFF))),
    "std_0": ("uint8", lambda c: sealed(put(c, 68, "<f", 0.0))),
    "mean_nan": ("uint8", lambda c: sealed(put(c, 56, "<f", float("nan")))),
}


@pytest.fixture(scope="module")
def python_tester():
    sys.path.insert(0, str(GOLDEN.parents[1] / "tester"))
    import sample_tester

    yield sample_tester
    sys.path.remove(str(GOLDEN.parents[1] / "tester"))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_data_file_is_refused_by_both_testers(commands, python_tester, tmp_path, capsys, name):
    golden, change = HOSTILE[name]
    file = tmp_path / "data.bin"
    file.write_bytes(change((GOLDEN / f"{golden}.bin").read_bytes()))
    flags = ["--infer_model=model", f"--infer_data={file}", "--data_dim=8"]

    done = subprocess.run([*commands["cpp"], *flags], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith(f"error: {file}: ") and done.stderr.count("\n") == 1

    with pytest.raises(SystemExit) as left:
        python_tester.cli.run(python_tester.main, flags)
    err = capsys.readouterr().err
    assert left.value.code == 3, err
    assert err.startswith(f"error: {file}: ") and err.count("\n") == 1


@pytest.mark.parametrize("path", ["missing.bin", ".", "fifo"])
def test_what_is_no_file_is_refused_by_both_testers(commands, python_tester, tmp_path, capsys, path):
    os.mkfifo(tmp_path / "fifo")
    flags = ["--infer_model=model", f"--infer_data={tmp_path / path}"]
    done = subprocess.run([*commands["cpp"], *flags], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and done.stderr.count("\n") == 1, done.stderr
    with pytest.raises(SystemExit) as left:
        python_tester.cli.run(python_tester.main, flags)
    assert left.value.code == 3 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("which", ["cpp", "python"])
def test_a_flipped_bit_in_an_image_is_found_when_the_image_is_read(fails, models, data, tmp_path, which):
    file = tmp_path / "data.bin"
    content = data["uint8"].read_bytes()
    file.write_bytes(flipped(content, 4096 + 20 * 3 * 32 * 32 + 5))
    fails(which, 3, f"{file}: image 20 is damaged", infer_model=models / "plain", infer_data=file, batch_size=8)


@pytest.mark.parametrize("name", ["raw", "float32", "uint8"])
def test_the_cpp_reader_gives_the_python_readers_values_bit_for_bit(build, name):
    file = GOLDEN / f"{name}.bin"
    done = subprocess.run([str(build / "dump_data"), str(file), "8"], capture_output=True, text=True, check=True)
    first, *lines = done.stdout.splitlines()
    count, height, width, fingerprint = first.split(" ", 3)
    with Reader(file, data_dim=8) as reader:
        assert (int(count), int(height), int(width)) == (len(reader), 8, 8) == (len(lines), 8, 8)
        assert (fingerprint == "") == reader.header.raw
        for i, line in enumerate(lines):
            label, *bits = line.split()
            assert int(label) == reader.labels[i]
            values = np.array([int(b, 16) for b in bits], np.uint32).view(np.float32)
            assert np.array_equal(values.view(np.uint32), reader.image(i).ravel().view(np.uint32))


def test_the_cpp_reader_refuses_what_the_python_reader_refuses_image_by_image(build, tmp_path):
    content = (GOLDEN / "uint8.bin").read_bytes()
    for image in range(COUNT):
        file = tmp_path / f"{image}.bin"
        file.write_bytes(flipped(content, IMAGES_AT + image * IMAGE // 4 + 3))
        done = subprocess.run([str(build / "dump_data"), str(file), "8"], capture_output=True, text=True)
        assert done.returncode == 3 and f"image {image} is damaged" in done.stderr
        with Reader(file) as reader, pytest.raises(DataError, match=f"image {image} is damaged"):
            reader.batch(0, COUNT)
