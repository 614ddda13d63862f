"""Latencies files that are not what the reader expects; tests/cpp/test_scenarios.py reads real ones."""

import struct
import zlib

import numpy as np
import pytest

from qat8 import latencies
from qat8.errors import DataError


def content(arrivals=(0, 10), starts=(0, 20), ends=(5_000, 9_010), version=1, origin=1_000_000, images=2) -> bytes:
    head = struct.pack("<8sIIQq", b"QAT8LAT\0", version, images, len(arrivals), origin)
    body = head + np.array([arrivals, starts, ends], "<i8").tobytes()
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.fixture
def written(tmp_path):
    def write(data: bytes):
        path = tmp_path / "latencies"
        path.write_bytes(data)
        return path

    return write


def test_times_are_on_the_machines_clock_and_latencies_in_microseconds(written):
    queries = latencies.load(written(content()))
    assert (len(queries), queries.images_per_query) == (2, 2)
    assert queries.arrival_ns.tolist() == [1_000_000, 1_000_010]
    assert queries.start_ns.tolist() == [1_000_000, 1_000_020]
    assert queries.latencies_us.tolist() == [5.0, 9.0]
    assert queries.waits_us.tolist() == [0.0, 0.01]


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (90, 90), (99, 99), (99.9, 100), (100, 100), (0.5, 1)])
def test_a_percentile_is_one_of_the_latencies_by_nearest_rank(written, percent, expected):
    ends = np.random.default_rng(0).permutation(np.arange(1, 101)) * 1000
    queries = latencies.load(written(content([0] * 100, [0] * 100, ends)))
    assert queries.percentile_us(percent) == expected


def test_a_file_without_queries_has_no_percentile(written):
    queries = latencies.load(written(content((), (), ())))
    with pytest.raises(DataError, match="no query was measured"):
        queries.percentile_us(99)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a latencies file"),
        (b"{}" * 40, "not a latencies file"),
        (content(version=2), "version 2; expected version 1"),
        (content()[:-30] + content()[-4:], "truncated"),
        (content() + b"x", "truncated"),
        (content()[:40] + b"\x01" + content()[41:], "damaged"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused_by_naming_why(written, data, words):
    with pytest.raises(DataError, match=words):
        latencies.load(written(data))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"No such file.*--latencies_file"):
        latencies.load(tmp_path / "none")
