"""The data file: golden bytes, writer and reader, damage."""

import runpy
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from qat8.datafile import DTYPES, Header, Reader, Writer, normalise, read_header
from qat8.errors import DataError

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
DTYPE = {"raw": 1, "float32": 1, "uint8": 2}
kinds = pytest.mark.parametrize("kind", DTYPE)


@pytest.fixture(scope="module")
def golden() -> dict:
    """The names of make_golden.py, which knows the format from its description alone."""
    return runpy.run_path(str(GOLDEN / "make_golden.py"))


def header(golden: dict, kind: str) -> Header:
    fingerprint = None if kind == "raw" else {"resize": 256, "what": "golden file"}
    return Header(
        golden["COUNT"], 8, 8, DTYPES[DTYPE[kind]], golden["CLASSES"], golden["MEAN"], golden["STD"], fingerprint,
        raw=kind == "raw",
    )  # fmt: skip


def test_the_committed_files_are_those_that_the_script_makes(golden):
    for name, content in golden["files"]().items():
        assert (GOLDEN / name).read_bytes() == content, name


@kinds
def test_the_writer_writes_the_golden_bytes(golden, tmp_path, kind):
    writer = Writer(tmp_path / "data.bin", header(golden, kind))
    for i, label in enumerate(golden["LABELS"]):
        image = np.array(golden["planes"](i), np.uint8).reshape(3, 8, 8)
        writer.append(image if kind == "uint8" else normalise(image, golden["MEAN"], golden["STD"]), label)
    writer.close()
    assert (tmp_path / "data.bin").read_bytes() == (GOLDEN / f"{kind}.bin").read_bytes()


@kinds
def test_the_reader_gives_the_golden_values_bit_for_bit(golden, kind):
    with Reader(GOLDEN / f"{kind}.bin", data_dim=8) as reader:
        assert reader.labels.tolist() == golden["LABELS"]
        images, labels = reader.batch(0, 10)
        assert (images.dtype, images.shape, labels.tolist()) == (np.float32, (3, 3, 8, 8), golden["LABELS"])
        for i, image in enumerate(images):
            expected = struct.pack("<192f", *golden["float_planes"](i))
            assert image.tobytes() == expected


def test_the_header_says_what_was_written(golden):
    h = read_header(GOLDEN / "uint8.bin")
    assert (h.count, h.height, h.width, h.classes, h.raw) == (3, 8, 8, 10, False)
    assert h.mean == pytest.approx(golden["MEAN"]) and h.std == pytest.approx(golden["STD"])
    assert h.fingerprint == {"resize": 256, "what": "golden file"}


def test_image_0_starts_on_a_page_boundary():
    assert read_header(GOLDEN / "uint8.bin").images_offset == 4096


def test_a_raw_imagenet_file_has_the_tutorials_size():
    assert Header(50_000, 224, 224, DTYPES[1], 1000, raw=True).file_bytes == 30_106_000_008


def test_the_last_batch_may_be_smaller():
    with Reader(GOLDEN / "uint8.bin") as reader:
        assert [(len(images), labels.tolist()) for images, labels in reader.batches(2)] == [(2, [7, 0]), (1, [9])]


def sealed(content: bytes, at: int, form: str, *values) -> bytes:
    """A file with other header fields whose checksum agrees."""
    packed = struct.pack(form, *values)
    content = content[:at] + packed + content[at + len(packed) :]
    return content[:4084] + struct.pack("<I", zlib.crc32(content[:4084])) + content[4088:]


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda c: c[:-1], "6435 bytes"),
        (lambda c: c + b"x", "6437 bytes"),
        (lambda c: sealed(c, 16, "<Q", 2**61), "its header says"),
        (lambda c: c[:4088] + struct.pack("<q", 4) + c[4096:], "payload's number of images"),
        (lambda c: sealed(c, 68, "<f", 0.0), "std"),
        (lambda c: sealed(c, 56, "<f", float("inf")), "mean"),
        (lambda c: sealed(c, 52, "<I", 1), "not JSON"),
        (lambda c: sealed(sealed(c, 52, "<I", 2), 88, "2s", b"[]"), "not a JSON object"),
        (lambda c: sealed(c, 40, "<I", 9), "image 2 has label 9"),
        (lambda c: c[:200] + b"x" + c[201:], "header's CRC-32"),
        (lambda c: c[:-30] + b"x" + c[-29:], "labels or trailer"),
    ],
)
def test_damage_is_found_at_opening_and_named(tmp_path, change, fact):
    file = tmp_path / "data.bin"
    file.write_bytes(change((GOLDEN / "float32.bin").read_bytes()))
    with pytest.raises(DataError, match=fact):
        Reader(file)


def test_a_damaged_image_is_found_when_it_is_read_and_the_others_are_still_read(tmp_path):
    content = bytearray((GOLDEN / "float32.bin").read_bytes())
    content[4096 + 768 + 3] ^= 1
    (tmp_path / "data.bin").write_bytes(content)
    with Reader(tmp_path / "data.bin") as reader:
        reader.image(0), reader.image(2)
        for _ in range(2):  # not only the first time
            with pytest.raises(DataError, match="image 1 is damaged"):
                reader.image(1)


def test_a_file_that_shrinks_while_it_is_read_is_an_error_and_not_a_crash(tmp_path):
    file = tmp_path / "data.bin"
    file.write_bytes((GOLDEN / "float32.bin").read_bytes())
    with Reader(file) as reader:
        file.open("r+b").truncate(5000)
        reader.image(0)
        with pytest.raises(DataError, match="ends"):
            reader.image(2)


def test_a_label_outside_the_classes_is_refused_by_the_writer(golden, tmp_path):
    writer = Writer(tmp_path / "data.bin", header(golden, "uint8"))
    with pytest.raises(DataError, match="label 10"):
        writer.append(np.zeros((3, 8, 8), np.uint8), 10)
    writer.abort()


def test_another_number_of_images_than_promised_is_refused_and_leaves_no_header(golden, tmp_path):
    writer = Writer(tmp_path / "data.bin", header(golden, "uint8"))
    writer.append(np.zeros((3, 8, 8), np.uint8), 1)
    with pytest.raises(ValueError, match="1 images were written, 3 promised"):
        writer.close()
    writer.abort()
    with pytest.raises(DataError):
        Reader(tmp_path / "data.bin", data_dim=8)


def test_uint8_normalisation_rounds_to_float32_at_each_step():
    levels = np.arange(256, dtype=np.uint8)
    image = np.stack([levels.reshape(16, 16)] * 3)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    mine = normalise(image, mean, std)
    for c in range(3):
        scaled = levels.astype(np.float32) / np.float32(255)
        expected = (scaled - np.float32(mean[c])) / np.float32(std[c])
        assert np.array_equal(mine[c].ravel(), expected)
        # In double precision some values differ: the rounding is part of the format.
        double = ((levels / 255.0 - mean[c]) / std[c]).astype(np.float32)
        assert not np.array_equal(mine[c].ravel(), double)
