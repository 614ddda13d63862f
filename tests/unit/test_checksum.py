"""CRC-32: zlib's numbers, whoever computes them, and no zlib of ISA-L's in Paddle's way."""

import subprocess
import sys
import zlib

import numpy as np

from qat8.checksum import crc32


def test_checksums_are_zlibs_for_any_length_and_start():
    content = np.random.default_rng(0).bytes(1000)
    for length in range(200):
        assert crc32(content[:length]) == zlib.crc32(content[:length])
        assert crc32(content[:length], 12345) == zlib.crc32(content[:length], 12345)
    array = np.arange(3000, dtype=np.float32).reshape(3, 10, 100)
    assert crc32(array) == zlib.crc32(array.tobytes()) == crc32(memoryview(array).cast("B"))


def test_the_locked_environment_has_the_fast_one():
    assert crc32.__module__ != "zlib" and crc32 is not zlib.crc32


def test_without_isal_as_in_the_peers_environment_zlib_does_it():
    program = "import sys; sys.modules['isal'] = None; from qat8.checksum import crc32; print(crc32(b'abc'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == zlib.crc32(b"abc")
