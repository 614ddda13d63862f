"""ImageNet's 30 GB, as a sparse file of zeros: opened, read in places, in memory that does not depend on its size."""

import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from qat8.datafile import DTYPES, HEADER_BYTES, Header, Reader, Writer, encode_header

TESTER = Path(__file__).resolve().parents[2] / "tester"
SIDE, FULL, FEW = 224, 50_000, 500
RAW_BYTES = 30_106_000_008
PYTHON = """
import sys, zlib
from qat8.datafile import Reader
with Reader(sys.argv[1]) as reader:
    for i in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[3])):
        reader.will_read(i + 1, 50)
        print(f"{zlib.crc32(reader.image(i)):08x}")
    status = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]
    print(len(reader), int(status) * 1024)
"""


def sparse(path, count: int, kind: str):
    """A data file of `count` black images of class 0 that takes next to no room: holes are zeros."""
    dtype = DTYPES[2 if kind == "uint8" else 1]
    header = Header(count, SIDE, SIDE, dtype, 10, (0.5,) * 3, (0.5,) * 3, {}, raw=kind == "raw")
    with open(path, "wb") as f:
        f.truncate(header.file_bytes)
        f.seek(header.images_offset - 8)
        f.write(count.to_bytes(8, "little"))
        if not header.raw:
            trailer = zlib.crc32(bytes(header.image_bytes)).to_bytes(4, "little") * count
            sums = {"labels_crc": zlib.crc32(bytes(8 * count)), "trailer_crc": zlib.crc32(trailer)}
            f.seek(header.labels_offset + 8 * count)
            f.write(trailer)
            f.seek(0)
            f.write(encode_header(Header(**{**header.__dict__, **sums})))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    home = tmp_path_factory.mktemp("sparse")
    made = {(k, n): sparse(home / f"{k}-{n}.bin", n, k) for k in ("raw", "float32", "uint8") for n in (FEW, FULL)}
    assert made["raw", FULL].stat().st_size == RAW_BYTES
    assert sum(os.stat(p).st_blocks * 512 for p in made.values()) < 2e6
    yield made
    for path in made.values():
        path.unlink()


@pytest.fixture
def read(build):
    """`read(language, file, start, n)`: what was read of each image, number of images, peak memory."""

    def run(language: str, file, start: int, n: int):
        program = [str(build / "read_data")] if language == "cpp" else [sys.executable, "-c", PYTHON]
        done = subprocess.run([*program, str(file), str(start), str(n)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        *crcs, last = done.stdout.split("\n")[:-1]
        count, peak = map(int, last.split())
        return crcs[:n], count, peak

    return run


@pytest.mark.parametrize("language", ["cpp", "python"])
@pytest.mark.parametrize("kind", ["raw", "float32", "uint8"])
def test_thirty_gigabytes_take_the_memory_of_three_hundred_megabytes(files, read, language, kind):
    few, count, small = read(language, files[kind, FEW], 0, 200)
    assert count == FEW
    many, count, large = read(language, files[kind, FULL], FULL - 200, 200)
    assert count == FULL and many == few
    # The labels and checksums of 49,500 more images take 12 bytes each, 0.6 MB; the images would take 30,000.
    assert large - small < 3e6, (small, large)
    value = np.float32(-1 if kind == "uint8" else 0)
    assert set(many) == {f"{zlib.crc32(np.full(3 * SIDE * SIDE, value).tobytes()):08x}"}


@pytest.mark.parametrize(("side", "batch"), [(SIDE, 1), (SIDE, 20), (25, 20), (3, 1)])
def test_uint8_images_of_any_size_alone_and_in_batches_are_normalised_as_python_does(build, tmp_path, side, batch):
    """20 of 224 x 224 are more than caches hold, and stored past them. 25 x 25 are no whole number of registers."""
    random, file = np.random.default_rng(side), tmp_path / "uint8.bin"
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    writer = Writer(file, Header(20, side, side, DTYPES[2], 10, mean, std, {}))
    for _ in range(20):
        writer.append(random.integers(0, 256, (3, side, side), np.uint8), 0)
    writer.close()
    command = [str(build / "read_data"), str(file), "0", "20", str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    with Reader(file) as reader:
        assert done.stdout.split("\n")[:20] == [f"{zlib.crc32(reader.image(i)):08x}" for i in range(20)]


@pytest.mark.parametrize("which", ["cpp", "python"])
@pytest.mark.parametrize("kind", ["raw", "float32", "uint8"])
def test_reading_is_reported_beside_the_latency(run, models, data, which, kind):
    flags = {"infer_model": models / "plain", "infer_data": data[kind], "data_dim": 32, "batch_size": 10}
    done = run(which, **flags)
    assert 0 < done.json.read_ms < 1000
    (line,) = [line for line in done.lines if line.startswith("reading: ")]
    each, share = re.fullmatch(r"reading: ([\d.]+)ms per batch beside the latency \(([\d.]+)% of it\)", line).groups()
    assert float(each) == pytest.approx(done.json.read_ms / len(done.json.latencies_ms), abs=0.001)
    assert float(share) == pytest.approx(done.json.read_ms / sum(done.json.latencies_ms) * 100, abs=0.01)


def test_python_lends_its_images_to_paddle_which_sees_what_is_in_them_at_each_run(models):
    program = """
import sys
import numpy as np
from paddle_predictor import Predictor
predictor = Predictor(sys.argv[1], 32, 32, 1, False, False)
images, labels = np.random.default_rng(0).normal(size=(6, 3, 32, 32)).astype(np.float32), np.zeros(6, np.int64)
whole = predictor.run(images, labels).scores
assert np.array_equal(predictor.run(images[:2], labels[:2]).scores, whole[:2])  # another batch size
images[:] = images[::-1].copy()
assert np.array_equal(predictor.run(images, labels).scores, whole[::-1]) and len({row.tobytes() for row in whole}) == 6
assert np.array_equal(predictor.run(images[3:5], labels[3:5]).scores, whole[1:3][::-1])
print("done")
"""
    path = os.pathsep.join(map(str, (TESTER, TESTER.parent / "src")))
    command = [sys.executable, "-c", program, str(models / "plain")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.stdout == "done\n", done.stderr


def test_checksums_of_any_length_are_zlibs(build, data):
    """The C++ reader folds 256 or 64 bytes at a time where the CPU can, and goes on with tables."""
    random = data["float32"].with_name("random.bin")
    content = np.random.default_rng(3).bytes(8 + SIDE * SIDE * 12)
    random.write_bytes((1).to_bytes(8, "little") + content[8:] + bytes(8))
    done = subprocess.run([str(build / "read_data"), str(random), "0", "1"], capture_output=True, text=True, check=True)
    image, *heads = done.stdout.split("\n")[:-2]
    assert int(image, 16) == zlib.crc32(content[8:])
    whole = random.read_bytes()
    assert [int(h, 16) for h in heads] == [zlib.crc32(whole[:n]) for n in range(601)]


def test_a_batch_is_read_into_the_callers_array(data):
    with Reader(data["uint8"]) as reader:
        out = np.full((10, 3, 32, 32), 7, np.float32)
        images, labels = reader.batch(30, 10, out=out)
        assert len(images) == len(labels) == 7 and np.shares_memory(images, out)
        assert images.tobytes() == reader.batch(30, 10)[0].tobytes() and (out[7:] == 7).all()
    assert HEADER_BYTES == 4088
