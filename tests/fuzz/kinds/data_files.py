"""Data files, in Python's reader and in C++'s: both must refuse the same, and read the same."""

from __future__ import annotations

import random
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
from attempts import Ending, Kind, command_line
from mutations import damaged

from kinds.common import BUILD, GOLDEN, build_testers, one_of


def _hostile_data(content: bytes, r: random.Random) -> bytes:
    data = bytearray(damaged(content, r))
    if data[:8] == b"QAT8DATA" and len(data) >= 4096 and r.random() < 0.7:  # somebody made it so, and its sums fit
        if r.random() < 0.5:
            struct.pack_into("<Q", data, 80, len(data))
        if r.random() < 0.5:
            data[4088:4096] = data[16:24]
        struct.pack_into("<I", data, 4084, zlib.crc32(data[:4084]))
    return bytes(data)


def _read_data(path: Path) -> Ending:
    """Python's reader; and C++'s, which must give the same exit code, and the same values to the last bit."""
    from qat8.datafile import Reader

    read = []

    def main(_: list[str]) -> None:
        with Reader(path, data_dim=8, classes=2**63 - 1) as reader:
            for i in range(len(reader)):
                read.append(f"{reader.labels[i]} {reader.image(i).tobytes().hex()}")

    ending = command_line(main)
    done = subprocess.run([BUILD / "dump_data", path, "8"], capture_output=True, timeout=20)
    if done.returncode != ending.code:
        said = done.stderr.decode(errors="replace")
        return Ending(ending.code, ending.said, f"C++: exit code {done.returncode}, Python: {ending.code} ({said})")
    if ending.code == 0 and [_hex(line) for line in done.stdout.splitlines()[1:]] != read:
        return Ending(0, ending.said, "C++ and Python read other values")
    return ending


def _hex(line: bytes) -> str:
    label, *bits = line.decode().split()
    return f"{label} {np.array([int(b, 16) for b in bits], '<u4').tobytes().hex()}"


def data_files() -> list[Kind]:
    build_testers()
    golden = {file.name: file.read_bytes() for file in GOLDEN.glob("*.bin")}
    return [Kind("data file", one_of(golden, _hostile_data), _read_data, (3,), 10_000, 300, group="data files")]
